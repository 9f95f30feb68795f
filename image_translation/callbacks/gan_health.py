"""Warns of a GAN that doesn't learn any more."""

import logging
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor

from image_translation.errors import at_least
from image_translation.models import Translator

log = logging.getLogger(__name__)
SAME = 2  # levels of 255 by which pictures may differ and still be the same


class GANHealth(Callback):
    """Warns, once each, when the discriminator always wins, and when outputs are all the same.

    Args:
        won_epochs: so many epochs in a row make a discriminator that always wins.
        won_accuracy: the part of all patches that it tells right then.
    """

    def __init__(self, won_epochs: int = 5, won_accuracy: float = 0.99) -> None:
        at_least("callbacks.gan_health.won_epochs", won_epochs, 1, whole=True)
        at_least("callbacks.gan_health.won_accuracy", won_accuracy, 0.5)
        self.won_epochs, self.won_accuracy = won_epochs, won_accuracy
        self.won, self.warned = 0, set[str]()
        self.lowest: Tensor | None = None  # (3, S, S), over the pictures of a validation
        self.highest: Tensor | None = None
        self.pictures = 0

    def state_dict(self) -> dict[str, Any]:
        return {"won": self.won, "warned": sorted(self.warned)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.won, self.warned = state_dict["won"], set(state_dict["warned"])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Translator) -> None:  # type: ignore[override]
        accuracy = pl_module.epoch_means().get("train/accuracy", 0.0)
        self.won = self.won + 1 if accuracy >= self.won_accuracy else 0
        if self.won == self.won_epochs:
            self._warn(
                "won",
                f"For {self.won} epochs the discriminator has told {accuracy:.1%} of all patches right, so "
                "the generator learns from L1 alone. Try model.gan_loss=lsgan, a lower learning rate or more pictures.",
            )

    def on_validation_start(self, trainer: Trainer, pl_module: Translator) -> None:  # type: ignore[override]
        self.lowest = self.highest = None
        self.pictures = 0

    def on_validation_batch_end(  # type: ignore[override]
        self, trainer: Trainer, pl_module: Translator, outputs: Tensor, *_: Any, **__: Any
    ) -> None:
        low, high = outputs.amin(dim=0), outputs.amax(dim=0)
        self.lowest = low if self.lowest is None else torch.minimum(self.lowest, low)
        self.highest = high if self.highest is None else torch.maximum(self.highest, high)
        self.pictures += len(outputs)

    def on_validation_end(self, trainer: Trainer, pl_module: Translator) -> None:  # type: ignore[override]
        if self.pictures > 1 and self.lowest is not None and self.highest is not None:
            differ = int((self.highest.int() - self.lowest.int()).max())
            if differ <= SAME:
                self._warn(
                    "same",
                    f"After epoch {trainer.current_epoch + 1} all {self.pictures} outputs of val are the same picture. "
                    "Look at the panels. Try a lower model.learning_rate or model.gan_loss=lsgan.",
                )

    def _warn(self, kind: str, text: str) -> None:
        if kind not in self.warned:
            self.warned.add(kind)
            log.warning(text)
