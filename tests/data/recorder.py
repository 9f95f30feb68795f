"""A model that learns nothing and keeps what it is trained on."""

from typing import Any

import pytorch_lightning as pl


class Recorder(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.batches: list[dict[str, Any]] = []

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.batches.append(batch)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        pass

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.batches.append(batch)

    def configure_optimizers(self) -> None:
        return None


def trainer(epochs: int = 1, **options: Any) -> pl.Trainer:
    defaults = {"accelerator": "cpu", "enable_checkpointing": False, "num_sanity_val_steps": 0}
    return pl.Trainer(max_epochs=epochs, devices=1, logger=False, enable_progress_bar=False,
                      enable_model_summary=False, **(defaults | options))  # fmt: skip
