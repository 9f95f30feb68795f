"""Stopping by a signal, at a moment where the state can be saved."""

import signal
from types import FrameType
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from image_translation.runs import TERMINATED


class StopBetweenBatches(Callback):
    """Makes SIGINT and SIGTERM wait for the end of the batch; a second signal stops at once.

    Raised wherever Python happens to be, they would leave networks that have learned from a batch which is not
    counted, or be lost: an exception in a destructor is. Several processes stop at once, as Lightning has it: between
    batches they would have to agree on one.
    """

    def __init__(self) -> None:
        self.received: int | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.world_size == 1:
            self.received = None
            for number in (signal.SIGINT, signal.SIGTERM):  # Lightning restores the handlers
                signal.signal(number, self._note)

    def on_train_batch_start(self, *_: Any) -> None:
        self._stop_if_asked()

    def on_validation_batch_start(self, *_: Any) -> None:
        self._stop_if_asked()

    def on_fit_end(self, *_: Any) -> None:
        self._stop_if_asked()

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.received is not None:
            self._raise(number)
        self.received = number

    def _stop_if_asked(self) -> None:
        if self.received is not None:
            self._raise(self.received)

    @staticmethod
    def _raise(number: int) -> None:
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(TERMINATED)
