"""Warns of a GAN that doesn't learn any more."""

import logging
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor

from image_translation.cli.errors import at_least
from image_translation.models import ImageTranslationModule

log = logging.getLogger(__name__)
SAME = 2  # levels of 255 by which images may differ and still be the same


class GANMonitor(Callback):
    """Warns, once each, when the discriminator always wins, and when outputs are all the same.

    Args:
        saturated_epochs: so many epochs in a row make a discriminator that always wins.
        saturated_accuracy: the part of all patches that it tells right then.
    """

    def __init__(self, saturated_epochs: int = 5, saturated_accuracy: float = 0.99) -> None:
        at_least("callbacks.gan_monitor.saturated_epochs", saturated_epochs, 1, whole=True)
        at_least("callbacks.gan_monitor.saturated_accuracy", saturated_accuracy, 0.5)
        self.saturated_epochs, self.saturated_accuracy = saturated_epochs, saturated_accuracy
        self.discriminator_saturated, self.warned = 0, set[str]()
        self.lowest: Tensor | None = None  # (3, S, S), over the images of a validation
        self.highest: Tensor | None = None
        self.images = 0

    def state_dict(self) -> dict[str, Any]:
        return {"discriminator_saturated": self.discriminator_saturated, "warned": sorted(self.warned)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.discriminator_saturated, self.warned = state_dict["discriminator_saturated"], set(state_dict["warned"])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: ImageTranslationModule) -> None:  # type: ignore[override]
        accuracy = pl_module.epoch_means().get("train/accuracy", 0.0)
        self.discriminator_saturated = self.discriminator_saturated + 1 if accuracy >= self.saturated_accuracy else 0
        if self.discriminator_saturated == self.saturated_epochs:
            self._warn(
                "discriminator_saturated",
                f"For {self.discriminator_saturated} epochs the discriminator has told {accuracy:.1%} of all patches right, so "
                "the generator learns from L1 alone. Try model.gan_loss=lsgan, a lower learning rate or more images.",
            )

    def on_validation_start(self, trainer: Trainer, pl_module: ImageTranslationModule) -> None:  # type: ignore[override]
        self.lowest = self.highest = None
        self.images = 0

    def on_validation_batch_end(  # type: ignore[override]
        self, trainer: Trainer, pl_module: ImageTranslationModule, outputs: Tensor, *_: Any, **__: Any
    ) -> None:
        low, high = outputs.amin(dim=0), outputs.amax(dim=0)
        self.lowest = low if self.lowest is None else torch.minimum(self.lowest, low)
        self.highest = high if self.highest is None else torch.maximum(self.highest, high)
        self.images += len(outputs)

    def on_validation_end(self, trainer: Trainer, pl_module: ImageTranslationModule) -> None:  # type: ignore[override]
        if self.images > 1 and self.lowest is not None and self.highest is not None:
            differ = int((self.highest.int() - self.lowest.int()).max())
            if differ <= SAME:
                self._warn(
                    "same",
                    f"After epoch {trainer.current_epoch + 1} all {self.images} outputs of val are the same image. "
                    "Look at the panels. Try a lower model.learning_rate or model.gan_loss=lsgan.",
                )

    def _warn(self, kind: str, text: str) -> None:
        if kind not in self.warned:
            self.warned.add(kind)
            log.warning(text)
