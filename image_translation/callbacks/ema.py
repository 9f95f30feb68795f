"""An exponential moving average of the weights, which is what is validated, shown, kept as the best, and tested."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import EMAWeightAveraging

from image_translation.cli.errors import UserError, at_least
from image_translation.models import ImageTranslationModule


class EMA(EMAWeightAveraging):
    """Lightning's weight averaging, with states that can be saved at any moment, and panels of the average.

    Training goes on with its own weights; ``last.ckpt`` has both.

    Args:
        decay: of the old average at every step, from 0 to below 1.
    """

    def __init__(self, decay: float = 0.999) -> None:
        at_least("callbacks.ema.decay", decay, 0)
        if decay >= 1:
            raise UserError(f"callbacks.ema.decay must be below 1, got {decay}.")
        super().__init__(decay=decay)
        self.in_use = False  # whether the model has the average's weights just now, and the average the model's

    def on_fit_start(self, trainer: Trainer, pl_module: ImageTranslationModule) -> None:  # type: ignore[override]
        assert self._average_model is not None
        self._average_model.to(pl_module.device)  # it was made before the model went there
        pl_module.averaged = partial(self.averaged, pl_module)

    @contextmanager
    def averaged(self, model: ImageTranslationModule) -> Iterator[None]:
        """The average as the model's weights."""
        if self.in_use:
            yield
            return
        self._exchange(model)
        try:
            yield
        finally:
            self._exchange(model)

    def _exchange(self, model: ImageTranslationModule) -> None:
        self._swap_models(model)
        self.in_use = not self.in_use

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: ImageTranslationModule) -> None:  # type: ignore[override]
        if self._average_model is not None:
            self._exchange(pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: ImageTranslationModule) -> None:  # type: ignore[override]
        if self._average_model is not None:
            self._exchange(pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: ImageTranslationModule) -> None:  # type: ignore[override]
        """Leave the model its own weights, in case it is trained longer; the best checkpoint has the average."""

    def on_save_checkpoint(  # type: ignore[override]
        self, trainer: Trainer, pl_module: ImageTranslationModule, checkpoint: dict[str, Any]
    ) -> None:
        if self.in_use:  # a signal stops the training in a validation, which is not gone on with
            self._exchange(pl_module)
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
