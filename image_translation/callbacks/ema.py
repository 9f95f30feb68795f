"""An exponential moving average of the weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import EMAWeightAveraging

from image_translation.cli.errors import UserError, at_least
from image_translation.models import ImageTranslationModule
from image_translation.training.lightning_private import start_average


class EMA(EMAWeightAveraging):
    """Lightning's weight averaging, whose average is validated, shown in panels, kept as the best, and tested.

    ``last.ckpt`` has the average and the weights that are trained.

    Args:
        decay: of the old average at every step, from 0 to below 1.
    """

    def __init__(self, decay: float = 0.999) -> None:
        at_least("decay", decay, 0)
        if decay >= 1:
            raise UserError(f"decay must be below 1, got {decay}.")
        super().__init__(decay=decay, use_buffers=False)  # the color curve is not averaged

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        start_average(self, pl_module)
        pl_module.averaged_weights = partial(self.averaged_weights, trainer, pl_module)

    @contextmanager
    def averaged_weights(self, trainer: Trainer, model: ImageTranslationModule) -> Iterator[None]:
        """The average as the model's weights, as Lightning has it for a validation."""
        self.on_validation_epoch_start(trainer, model)
        try:
            yield
        finally:
            self.on_validation_epoch_end(trainer, model)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Leave the model its trained weights, from which a longer run is resumed; best.ckpt has the average."""
