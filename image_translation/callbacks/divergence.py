"""A training that can't be saved any more is stopped before it is saved."""

from typing import Any

import torch
import torch.distributed as dist
from pytorch_lightning import Callback, Trainer
from torch import Tensor

from image_translation.cli.errors import UserError
from image_translation.models import ImageTranslationModule

ADVICE = (
    "What was saved before is kept. Try a lower model.learning_rate, model.gradient_clip_val=1 or "
    "trainer.precision=32-true in a new run."
)


class Divergence(Callback):
    """Ends the run when a loss or a gradient is not finite: names the step and its images, and keeps the last state.

    On a CPU every step is looked at. On other devices, which would have to be waited for, steps are looked at together:
    as many as trainer.log_every_n_steps, and those before a validation or a state.
    """

    def __init__(self) -> None:
        self.steps: list[tuple[int, list[str], dict[str, Tensor]]] = []

    def on_train_start(self, trainer: Trainer, pl_module: ImageTranslationModule) -> None:  # type: ignore[override]
        self.steps.clear()

    def on_train_batch_end(  # type: ignore[override]
        self,
        trainer: Trainer,
        pl_module: ImageTranslationModule,
        outputs: dict[str, Tensor],
        batch: dict[str, Any],
        batch_idx: int,
    ) -> None:
        if getattr(trainer.precision_plugin, "scaler", None):  # it finds gradients that overflow, and passes them over
            outputs = {name: value for name, value in outputs.items() if "/gradient_" not in name}
        self.steps.append((trainer.global_step, batch["name"], outputs))
        enough = len(self.steps) >= max(trainer.log_every_n_steps, 1)  # type: ignore[attr-defined]
        if enough or self._looks_at_each(trainer, pl_module):
            self._require_finite(trainer)

    @staticmethod
    def _looks_at_each(trainer: Trainer, model: ImageTranslationModule) -> bool:
        return trainer.world_size == 1 and model.device.type == "cpu"

    def on_validation_start(self, trainer: Trainer, pl_module: ImageTranslationModule) -> None:  # type: ignore[override]
        self._require_finite(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: ImageTranslationModule) -> None:  # type: ignore[override]
        self._require_finite(trainer)

    def on_save_checkpoint(  # type: ignore[override]
        self, trainer: Trainer, pl_module: ImageTranslationModule, checkpoint: dict[str, Any]
    ) -> None:
        self._require_finite(trainer)

    def _require_finite(self, trainer: Trainer) -> None:
        steps, self.steps = self.steps, []
        if not steps:
            return
        together = torch.stack([torch.stack([v.float() for v in values.values()]).sum() for _, _, values in steps])
        finite = together.isfinite().tolist()  # a sum with a part that is not finite is not
        message = None
        if not all(finite):
            step, names, values = steps[finite.index(False)]
            numbers = ", ".join(f"{name} {value.item():.4g}" for name, value in values.items())
            message = f"Training has diverged at step {step}: {numbers}. Images: {', '.join(names)}. {ADVICE}"
        messages: list[str | None] = [message]
        if trainer.world_size > 1:  # all end together
            messages *= trainer.world_size
            dist.all_gather_object(messages, message)
        for text in messages:
            if text:
                raise UserError(text)
