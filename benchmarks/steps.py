"""A callback that notes when each step of a real run ended."""

import json
import time
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer


class StepTimes(Callback):
    """Writes the time at which each training step ended, and how long the model's own part of it took.

    On a GPU the host runs ahead of the device, so only the first and the last step of an epoch wait for it, and the
    model's own part is not known.

    Args:
        file: where they go, as JSON.
    """

    def __init__(self, file: str) -> None:
        self.file = Path(file)
        self.epochs: list[list[float]] = []
        self.own: list[list[float]] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        optimize: Any = pl_module.optimize

        def timed(batch: Any) -> Any:
            start = time.perf_counter()
            losses = optimize(batch)
            self.own[-1].append(time.perf_counter() - start)
            return losses

        pl_module.optimize = timed  # type: ignore[assignment]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.epochs.append([])
        self.own.append([])

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if pl_module.device.type == "cuda" and (not self.epochs[-1] or trainer.is_last_batch):
            torch.cuda.synchronize()
        self.epochs[-1].append(time.perf_counter())

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.file.write_text(json.dumps({"epochs": self.epochs, "own": self.own}))
