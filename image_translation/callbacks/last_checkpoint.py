"""The whole state of a training, so that it can go on as if nothing had happened."""

import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint

from image_translation.cli.errors import UserError, at_least
from image_translation.inference.checkpoints import EARLIER, LAST, read_checkpoint
from image_translation.loggers.wandb import flush
from image_translation.models import ImageTranslationModule
from image_translation.training.signals import Signals

log = logging.getLogger(__name__)


class Moment(Enum):
    """Where in training a state is saved; everything before is done, measured and logged."""

    BATCH = "before a batch"
    VALIDATION = "before a validation"
    EPOCH = "before an epoch, or at the end"


class LastCheckpoint(Checkpoint):
    """Writes ``last.ckpt``: at the end of epochs, in the middle of long ones, and when a signal stops the training.

    It is written between two batches with no gradient accumulated, after whatever these logged. SIGINT, SIGTERM and
    SIGUSR1 wait for that moment, save and end the training; a second signal ends it at once.

    Args:
        folder: where the file goes.
        every_n_epochs: epochs between two states; 0 for none at the end of epochs but the last.
        every_n_steps: also after so many batches; 0 for none.
        every_minutes: also after so much time; 0 for none.
        keep: how many states stay: ``last.ckpt``, and earlier ones by the names ``step_00001200.ckpt``.
    """

    def __init__(
        self, folder: str, every_n_epochs: int = 1, every_n_steps: int = 0, every_minutes: float = 0, keep: int = 1
    ) -> None:
        at_least("checkpoint.every_n_epochs", every_n_epochs, 0, whole=True)
        at_least("checkpoint.every_n_steps", every_n_steps, 0, whole=True)
        at_least("checkpoint.every_minutes", every_minutes, 0)
        at_least("checkpoint.keep", keep, 1, whole=True)
        self.folder, self.keep = Path(folder), keep
        self.every_n_epochs, self.every_n_steps, self.every_minutes = every_n_epochs, every_n_steps, every_minutes
        self.signals: Signals | None = None
        self.moment: Moment | None = None  # of the state that is being saved
        self.saved = (0, Moment.EPOCH)  # the step and the moment of last.ckpt
        self.is_ours = False  # whether this process wrote last.ckpt; one from before may be damaged
        self.since = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: ImageTranslationModule) -> None:  # type: ignore[override]
        self.signals, self.since = Signals(trainer.world_size), time.monotonic()

    def on_train_batch_start(  # type: ignore[override]
        self, trainer: Trainer, pl_module: ImageTranslationModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx % pl_module.accumulate_grad_batches == 0:  # else gradients would be lost
            due = bool(self.every_n_steps) and trainer.global_step % self.every_n_steps == 0
            self._save_if(trainer, due or self._time_is_up(), Moment.BATCH)

    def on_validation_start(self, trainer: Trainer, pl_module: ImageTranslationModule) -> None:  # type: ignore[override]
        self._save_if(trainer, False, Moment.VALIDATION)

    def on_validation_batch_start(  # type: ignore[override]
        self, trainer: Trainer, pl_module: ImageTranslationModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._save_if(trainer, False, Moment.VALIDATION)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: ImageTranslationModule) -> None:  # type: ignore[override]
        due = bool(self.every_n_epochs) and trainer.current_epoch % self.every_n_epochs == 0
        self._save_if(trainer, due or self._time_is_up(), Moment.EPOCH)

    def on_train_end(self, trainer: Trainer, pl_module: ImageTranslationModule) -> None:  # type: ignore[override]
        self._save_if(trainer, True, Moment.EPOCH)

    def _time_is_up(self) -> bool:
        if not self.every_minutes or self.signals is None:
            return False
        return self.signals.agree(time.monotonic() - self.since > 60 * self.every_minutes)

    def _save_if(self, trainer: Trainer, due: bool, moment: Moment) -> None:
        if self.signals is None:  # a sanity check, or validation alone
            return
        stopping = self.signals.wanted()
        now = (trainer.global_step, moment)
        is_saved = now == self.saved or (moment is Moment.BATCH and now[0] == self.saved[0])
        if (due or stopping) and not is_saved:
            self._save(trainer, moment)
        if stopping:
            self.signals.stop()

    def _save(self, trainer: Trainer, moment: Moment) -> None:
        last = self.folder / LAST
        if self.keep > 1 and trainer.is_global_zero and self.is_ours and last.exists():
            _also_named(last, self.folder / EARLIER.format(f"{self.saved[0]:08d}"))
        flush(trainer.loggers)  # a run goes on after its last state, so nothing from before it is logged again
        self.moment = moment
        trainer.save_checkpoint(last, weights_only=False)
        self.is_ours = True
        self.moment, self.saved, self.since = None, (trainer.global_step, moment), time.monotonic()
        if trainer.is_global_zero:
            for old in sorted(self.folder.glob(EARLIER.format("*")))[: 1 - self.keep or None]:
                old.unlink()

    def on_save_checkpoint(  # type: ignore[override]
        self, trainer: Trainer, pl_module: ImageTranslationModule, checkpoint: dict[str, Any]
    ) -> None:
        if self.moment is not None:
            _place(checkpoint["loops"]["fit_loop"], self.moment, trainer)
            means = pl_module.means.state(trainer.strategy)
            checkpoint["last_checkpoint"] = {"moment": self.moment.name, "epoch_means": means}

    def on_load_checkpoint(  # type: ignore[override]
        self, trainer: Trainer, pl_module: ImageTranslationModule, checkpoint: dict[str, Any]
    ) -> None:
        state = checkpoint["last_checkpoint"]
        self.saved = (checkpoint["global_step"], Moment[state["moment"]])
        pl_module.means.load(state["epoch_means"])
        for callback in trainer.checkpoint_callbacks:
            kept = checkpoint["callbacks"].get(callback.state_key)
            if isinstance(callback, ModelCheckpoint) and kept:
                _take_from(Path(str(callback.dirpath)), kept)
                _forget_best_if_gone(kept, trainer.is_global_zero)


@contextmanager
def state_named(state: Path | None, trainer: Trainer) -> Iterator[None]:
    """Name the state that a training was to go on from, if it can't begin with what is in it.

    Raises:
        UserError: so it is.
    """
    try:
        yield
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        begun = any(
            callback.signals for callback in trainer.checkpoint_callbacks if isinstance(callback, LastCheckpoint)
        )
        if state is None or begun:
            raise
        reason = (str(error) or repr(error)).strip().splitlines()[0]
        raise UserError(f"{state}: training can't go on from what is in it ({reason}).") from error


def _place(loops: dict[str, Any], moment: Moment, trainer: Trainer) -> None:
    """Describe the place in training in a way from which Lightning goes on exactly.

    What it would note by itself depends on the hook that saves, and leaves out a validation, or repeats the end of an
    epoch, for some of them.
    """
    epochs, batches = loops["epoch_progress"], loops["epoch_loop.batch_progress"]
    for count in ("total", "current"):
        ended = epochs[count]["completed"] if moment is Moment.EPOCH else epochs[count]["processed"]
        begun = {"started": ended} if moment is Moment.EPOCH else {"started": ended + 1}
        epochs[count].update(ready=ended + 1, processed=ended, completed=ended, **begun)
        done = batches[count]["completed"]
        batches[count].update(ready=done, started=done, processed=done)
    if moment is Moment.EPOCH:
        batches["current"] = dict.fromkeys(batches["current"], 0)
    batches["is_last_batch"] = moment is Moment.VALIDATION and batches["is_last_batch"]
    if moment is Moment.VALIDATION:  # as if in its first batch: then it is run again, as a whole
        validation = loops["epoch_loop.val_loop.batch_progress"]
        validation["current"] = dict.fromkeys(validation["current"], 0)
        validation["total"] = dict.fromkeys(validation["total"], 0) | {"ready": 1, "started": 1}
    # Where it might have validated just now, Lightning first passes over that, and counts a batch.
    every, count = trainer.check_val_every_n_epoch, "total" if trainer.check_val_every_n_epoch is None else "current"
    passes = not batches[count]["ready"] % trainer.val_check_batch and not epochs["total"]["ready"] % (every or 1)
    if passes and moment is not Moment.VALIDATION:
        loops["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1


def _take_from(folder: Path, kept: dict[str, Any]) -> None:
    """Let the state of a ModelCheckpoint name files in its own folder only, wherever they were when it was saved.

    Lightning forgets the best state of a run that was moved. And a stranger's could name any file, to be replaced.
    """
    for key in ("best_model_path", "kth_best_model_path"):
        kept[key] = kept[key] and str(folder / Path(kept[key]).name)
    kept["best_k_models"] = {str(folder / Path(path).name): score for path, score in kept["best_k_models"].items()}
    kept["dirpath"] = str(folder)


def _forget_best_if_gone(kept: dict[str, Any], is_main: bool) -> None:
    """Let a new best state be chosen if the file of the one so far is missing or damaged.

    Args:
        kept: the state of a ModelCheckpoint.
        is_main: whether to say so, and to remove a damaged file.
    """
    best = Path(kept["best_model_path"])
    if kept["best_model_path"]:
        try:
            read_checkpoint(best)
        except UserError as error:
            if is_main:
                reason = error if best.exists() else f"{best} is gone."
                log.warning("%s The best state is chosen anew from here on.", reason)
                best.unlink(missing_ok=True)
            kept |= {"best_model_path": "", "kth_best_model_path": "", "best_model_score": None, "best_k_models": {}}


def _also_named(file: Path, name: Path) -> None:
    """A second name for a file, where the file system has such, else a copy."""
    name.unlink(missing_ok=True)
    try:
        os.link(file, name)
    except OSError:
        shutil.copyfile(file, name)
