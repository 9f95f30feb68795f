"""Warns of a GAN that has stopped learning."""

import logging
from typing import Any

from pytorch_lightning import Callback, Trainer

from image_translation.cli.errors import at_least

log = logging.getLogger(__name__)


class GANMonitor(Callback):
    """Warns, once, when the discriminator is saturated.

    Args:
        saturated_epochs: after so many epochs in a row the discriminator counts as saturated.
        saturated_accuracy: the part of all patches that it classifies correctly then.
    """

    def __init__(self, saturated_epochs: int = 5, saturated_accuracy: float = 0.99) -> None:
        at_least("saturated_epochs", saturated_epochs, 1, whole=True)
        at_least("saturated_accuracy", saturated_accuracy, 0.5)
        self.saturated_epochs, self.saturated_accuracy = saturated_epochs, saturated_accuracy
        self.epochs_in_row, self.warned = 0, False

    def state_dict(self) -> dict[str, Any]:
        return {"epochs_in_row": self.epochs_in_row, "warned": self.warned}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.epochs_in_row, self.warned = state_dict["epochs_in_row"], state_dict["warned"]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        accuracy = float(trainer.callback_metrics.get("train/accuracy", 0.0))  # logged by TrainingMetrics
        self.epochs_in_row = self.epochs_in_row + 1 if accuracy >= self.saturated_accuracy else 0
        if self.epochs_in_row >= self.saturated_epochs and not self.warned:
            self.warned = True
            log.warning(
                "For %d epochs the discriminator has classified %.1f%% of all patches correctly, so the generator "
                "learns from L1 alone. Try model.gan_loss=lsgan, a lower learning rate or more images.",
                self.epochs_in_row, 100 * accuracy,
            )  # fmt: skip
