"""Warns of a GAN that has stopped learning."""

import logging
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor

from image_translation.cli.errors import at_least

log = logging.getLogger(__name__)
SAME = 2  # levels of 255 by which images may differ and still count as equal


class GANMonitor(Callback):
    """Warns, once each, when the discriminator is saturated, and when all outputs are equal.

    Args:
        saturated_epochs: after so many epochs in a row the discriminator counts as saturated.
        saturated_accuracy: the part of all patches that it classifies correctly then.
    """

    def __init__(self, saturated_epochs: int = 5, saturated_accuracy: float = 0.99) -> None:
        at_least("saturated_epochs", saturated_epochs, 1, whole=True)
        at_least("saturated_accuracy", saturated_accuracy, 0.5)
        self.saturated_epochs, self.saturated_accuracy = saturated_epochs, saturated_accuracy
        self.epochs_in_row, self.warned = 0, set[str]()
        self.outputs: list[Tensor] = []  # of a validation: the lowest and the highest values of each batch

    def state_dict(self) -> dict[str, Any]:
        return {"epochs_in_row": self.epochs_in_row, "warned": sorted(self.warned)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.epochs_in_row, self.warned = state_dict["epochs_in_row"], set(state_dict["warned"])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        accuracy = float(trainer.callback_metrics.get("train/accuracy", 0.0))  # logged by TrainingMetrics
        self.epochs_in_row = self.epochs_in_row + 1 if accuracy >= self.saturated_accuracy else 0
        if self.epochs_in_row == self.saturated_epochs:
            self._warn(
                "discriminator_saturated",
                f"For {self.epochs_in_row} epochs the discriminator has classified {accuracy:.1%} of all patches "
                "correctly, so the generator learns from L1 alone. Try model.gan_loss=lsgan, a lower learning rate "
                "or more images.",
            )

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.outputs.clear()

    def on_validation_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, *_: Any, **__: Any) -> None:
        self.outputs += [torch.stack(outputs.aminmax(dim=0))] if len(outputs) > 1 else [outputs]

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        seen = torch.cat(self.outputs).int()
        if len(seen) > 1 and int((seen.amax(dim=0) - seen.amin(dim=0)).max()) <= SAME:
            self._warn(
                "equal_outputs",
                f"After epoch {trainer.current_epoch + 1} all outputs of val are the same image. Look at the panels. "
                "Try a lower learning rate or model.gan_loss=lsgan.",
            )

    def _warn(self, kind: str, text: str) -> None:
        if kind not in self.warned:
            self.warned.add(kind)
            log.warning(text)
