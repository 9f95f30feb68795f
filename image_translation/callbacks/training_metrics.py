"""What training logs: the losses of each step, their means over an epoch, and ``metrics.csv``."""

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from image_translation.cli.errors import UserError
from image_translation.runs.files import write_csv

Names = tuple[str, ...]


class TrainingMetrics(Callback):
    """Logs losses and gradient norms of each step as ``train/…_step``, their means over an epoch as ``train/…``.

    ``metrics.csv`` has one row an epoch: these means and the val metrics; and one for each validation within an epoch.
    A checkpoint within an epoch keeps the sums.

    Training fails when one of them is NaN or infinite. A CPU is asked at every step. Other devices, which would have to
    be waited for, are asked every ``trainer.log_every_n_steps`` and before validations and checkpoints.

    Args:
        path: of ``metrics.csv``.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.rows: list[dict[str, float]] = []
        self.sums: dict[Names, Tensor] = {}  # on the device, (names + 1,): the last is the number of images
        self.saved_sums: list[tuple[list[str], list[list[float]]]] = []  # of each device, from a checkpoint
        self.latest: tuple[int, list[str], dict[str, Tensor]] = (0, [], {})  # step, images, and its values
        self.learning_rate = 0.0

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self._require_finite(trainer)
        gather = trainer.strategy.all_gather
        sums = [(list(names), gather(own).view(-1, len(own)).tolist()) for names, own in self.sums.items()]
        checkpoint["training_metrics"] = {"rows": self.rows, "sums": sums}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self.rows, self.saved_sums = checkpoint["training_metrics"]["rows"], checkpoint["training_metrics"]["sums"]

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        options = {"dtype": _dtype(pl_module), "device": pl_module.device}
        self.sums = {
            tuple(names): torch.tensor(rows[trainer.global_rank], **options) for names, rows in self.saved_sums
        }

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.learning_rate = trainer.optimizers[0].param_groups[0]["lr"]  # which changes before on_train_batch_end
        pl_module.gradient_norms.clear()

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        count = len(batch["name"])
        rate = torch.full((), self.learning_rate, device=pl_module.device)
        for values in (outputs | {"learning_rate": rate}, pl_module.gradient_norms):  # norms come with updates only
            if values:
                scalars = [*(value.detach().float() for value in values.values()), torch.ones_like(rate)]
                summand = torch.stack(scalars).to(_dtype(pl_module)) * count
                names = tuple(f"train/{name}" for name in values)
                self.sums[names] = self.sums[names] + summand if names in self.sums else summand
        self.latest = (trainer.global_step, batch["name"], outputs | pl_module.gradient_norms)
        pl_module.log_dict({f"train/{name}_step": value for name, value in self.latest[2].items()}, batch_size=count)
        pl_module.log_axes(on_step=True, on_epoch=False, batch_size=count)
        on_cpu = pl_module.device.type == "cpu" and trainer.world_size == 1
        every = 1 if on_cpu else max(trainer.log_every_n_steps, 1)  # type: ignore[attr-defined]
        if (batch_idx + 1) % every == 0:
            self._require_finite(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._require_finite(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            found = trainer.callback_metrics.items()
            self._write(trainer, {name: value.item() for name, value in found if name.startswith("val/")})

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._require_finite(trainer)
        means: dict[str, float] = {}
        for names, own in self.sums.items():
            total = trainer.strategy.reduce(own, reduce_op="sum")
            assert isinstance(total, Tensor)
            means |= dict(zip(names, (total[:-1] / total[-1]).tolist(), strict=True))
        self.sums = {}
        pl_module.log_dict(means)
        pl_module.log_axes()
        self._write(trainer, means)

    def _write(self, trainer: Trainer, values: dict[str, float]) -> None:
        """Add values to the row of this step."""
        place: dict[str, float] = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step}
        if not self.rows or {name: self.rows[-1][name] for name in place} != place:
            self.rows.append(place)
        self.rows[-1] |= {name: float(f"{value:.6g}") for name, value in values.items()}
        if trainer.is_global_zero:
            columns = sorted({name for row in self.rows for name in row} - {"epoch", "step"})
            write_csv(self.path, self.rows, ["epoch", "step", *columns])

    def _require_finite(self, trainer: Trainer) -> None:
        # Gradients in float16 may overflow; the scaler skips such a step.
        sums = [own.sum() for names, own in self.sums.items()
                if trainer.precision != "16-mixed" or "train/learning_rate" in names]  # fmt: skip
        if sums and not torch.isfinite(trainer.strategy.reduce(torch.stack(sums).sum(), reduce_op="sum")):
            step, names, values = self.latest
            numbers = ", ".join(f"{name} {value.item():.4g}" for name, value in values.items())
            raise UserError(
                f"Training diverged by step {step}: {numbers}. Images: {', '.join(names)}. The checkpoint written "
                "before is kept. Try a lower model.optimizer.lr, gradient clipping, or trainer.precision=32-true."
            )


def _dtype(model: Any) -> torch.dtype:
    return torch.float32 if model.device.type == "mps" else torch.float64
