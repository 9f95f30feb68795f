"""Ends a training that has diverged before its weights are saved."""

from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor

from image_translation.cli.errors import UserError

ADVICE = (
    "The checkpoint written before is kept. Try a lower model.optimizer.lr, gradient clipping, or "
    "trainer.precision=32-true."
)


class StopOnNaN(Callback):
    """Fails when a loss or a gradient is NaN or infinite, and names the step and its images.

    A CPU is asked at every step. Other devices, which would have to be waited for, are asked every
    ``trainer.log_every_n_steps`` and before validations and checkpoints.
    """

    def __init__(self) -> None:
        self.total: Tensor | None = None  # NaN or infinite as soon as one of its summands is
        self.latest: tuple[int, list[str], dict[str, Tensor]] | None = None

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        values = dict(outputs)
        if trainer.precision != "16-mixed":  # whose gradients may overflow; the scaler skips such a step
            values |= pl_module.gradient_norms
        total = torch.stack([value.detach().float() for value in values.values()]).sum()
        self.total = total if self.total is None else self.total + total
        self.latest = (trainer.global_step, batch["name"], values)
        on_cpu = pl_module.device.type == "cpu" and trainer.world_size == 1
        every = 1 if on_cpu else max(trainer.log_every_n_steps, 1)  # type: ignore[attr-defined]
        if (batch_idx + 1) % every == 0:
            self._check(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._check(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._check(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self._check(trainer)

    def _check(self, trainer: Trainer) -> None:
        total, self.total = self.total, None
        if total is None or self.latest is None or torch.isfinite(trainer.strategy.reduce(total, reduce_op="sum")):
            return
        step, names, values = self.latest
        numbers = ", ".join(f"{name} {value.item():.4g}" for name, value in values.items())
        raise UserError(f"Training diverged by step {step}: {numbers}. Images: {', '.join(names)}. {ADVICE}")
