"""The last weights are validated, wherever a training ends."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.training import fit, make_data, make_model

from image_translation.callbacks import BestCheckpoint, TrainingMetrics


@pytest.mark.parametrize(("ends", "every", "validated"), [
    ({"max_steps": 5, "max_epochs": -1}, 1, [3, 5]),  # epochs have three steps
    ({"max_steps": 5, "max_epochs": -1}, 4, [5]),
    ({"max_epochs": 3}, 2, [6, 9]),
    ({"max_epochs": 2}, 1, [3, 6]),
    ({"max_epochs": 2}, None, [4, 6]),  # counted in batches
])  # fmt: skip
def test_the_last_weights_can_be_the_best(
    name: str, ends: dict[str, Any], every: int | None, validated: list[int], comic_root: Path, tmp_path: Path
) -> None:
    seen: list[int] = []

    class Rising(BestCheckpoint):
        """Sees the metric rise."""

        def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            seen.append(trainer.global_step)
            trainer.callback_metrics["val/psnr"] = torch.tensor(float(trainer.global_step))

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            trainer.callback_metrics["val/psnr"] = torch.tensor(float(seen[-1] if seen else 0))
            super().on_train_epoch_end(trainer, pl_module)

        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            trainer.callback_metrics["val/psnr"] = torch.tensor(float(trainer.global_step))
            super().on_validation_end(trainer, pl_module)

    more = {"val_check_interval": 4} if every is None else {}
    model = make_model(name)
    trainer = fit(
        model, make_data(comic_root, batch_size=2), check_val_every_n_epoch=every, **ends, **more,
        callbacks=[Rising(str(tmp_path)), TrainingMetrics(str(tmp_path / "metrics.csv"))],
    )  # fmt: skip

    assert seen == validated
    assert trainer.check_val_every_n_epoch == every
    best = torch.load(tmp_path / "best.ckpt", weights_only=True)["state_dict"]
    for key, weight in model.state_dict().items():
        assert torch.equal(best[key], weight), key
