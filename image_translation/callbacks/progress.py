"""The progress of a training on the terminal, or line by line in a file."""

import time
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ProgressBar
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from image_translation.cli.console import console
from image_translation.cli.errors import one_of
from image_translation.cli.process import is_main_process

STYLES = ("auto", "bar", "lines", "none")


class EpochProgress(ProgressBar):
    """Shows a bar that moves with the batches, and a line with the metrics after each epoch.

    Args:
        style: ``bar`` and lines, ``lines`` alone, or ``none``; ``auto`` shows the bar on a terminal only.
    """

    def __init__(self, style: str = "auto") -> None:
        super().__init__()
        if one_of("style", style, STYLES) == "auto":
            style = "bar" if console().is_terminal else "lines"
        self.style = style if is_main_process() else "none"
        self.bars: Progress | None = None
        self.since, self.validated = 0.0, False  # of the epoch

    def disable(self) -> None:
        self.style = "none"

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        self.since, self.validated = time.monotonic(), False
        self._show(_epoch(trainer), trainer.num_training_batches)

    def on_train_batch_end(self, *_: Any) -> None:
        self._advance()

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._show("Validation", sum(trainer.num_val_batches))

    def on_validation_batch_end(self, *_: Any, **__: Any) -> None:
        self._advance()

    def on_validation_end(self, trainer: Trainer, *_: Any) -> None:
        self.validated = True
        self._show(_epoch(trainer), trainer.num_training_batches, trainer.fit_loop.batch_idx + 1)

    def on_train_epoch_end(self, trainer: Trainer, *_: Any) -> None:
        self._hide()
        if self.style != "none":
            val = sorted(name for name in trainer.callback_metrics if name.startswith("val/") and self.validated)
            names = [name for name in ("train/loss", *val) if name in trainer.callback_metrics]
            metrics = {name: trainer.callback_metrics[name] for name in names}
            shown = "".join(f"{name} {float(value):.4g}, " for name, value in metrics.items())
            print(f"{_epoch(trainer)}: {shown}{time.monotonic() - self.since:.1f} s", flush=True)

    def on_test_start(self, trainer: Trainer, *_: Any) -> None:
        self._show("Test", sum(trainer.num_test_batches))

    def on_test_batch_end(self, *_: Any, **__: Any) -> None:
        self._advance()

    def on_test_end(self, *_: Any) -> None:
        self._hide()

    def on_exception(self, *_: Any) -> None:
        self._hide()

    def _show(self, title: str, total: float, done: int = 0) -> None:
        if self.style == "bar":
            self._hide()
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self.bars = Progress(*columns, console=console(), transient=True)
            self.bars.start()
            self.bars.add_task(title, total=total, completed=done)

    def _advance(self) -> None:
        if self.bars is not None:
            self.bars.advance(self.bars.task_ids[0])

    def _hide(self) -> None:
        if self.bars is not None:
            self.bars.stop()
            self.bars = None


def _epoch(trainer: Trainer) -> str:
    """``Epoch 2/10``, as people count."""
    total = f"/{trainer.max_epochs}" if trainer.max_epochs and trainer.max_epochs > 0 else ""
    return f"Epoch {trainer.current_epoch + 1}{total}"
