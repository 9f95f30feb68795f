"""The checkpoint from which a run is resumed."""

import logging
import shutil
import time
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint

from image_translation.cli.errors import at_least
from image_translation.runs.folder import EARLIER_CHECKPOINTS, LAST_CHECKPOINT
from image_translation.training.lightning_private import set_progress
from image_translation.training.signals import Signals

log = logging.getLogger(__name__)


class LastCheckpoint(Checkpoint):
    """Writes ``last.ckpt`` at the end of epochs, within long epochs, and when a signal stops the training.

    It is written between two steps, so that a resumed run does exactly what an uninterrupted one would. SIGINT,
    SIGTERM, SIGHUP and SIGUSR1 wait for that moment, and a signal in a validation for its end. A second signal ends
    the training at once.

    Args:
        dirpath: the folder of the checkpoints.
        every_n_epochs: epochs between two checkpoints; 0 for none but at the end.
        every_n_steps: also after so many steps; 0 for none.
        every_minutes: also after so much time; 0 for none.
        keep: if more than 1, the latest so many are also kept as ``step_00001200.ckpt``.
    """

    def __init__(
        self, dirpath: str, every_n_epochs: int = 1, every_n_steps: int = 0, every_minutes: float = 0, keep: int = 1
    ) -> None:
        at_least("every_n_epochs", every_n_epochs, 0, whole=True)
        at_least("every_n_steps", every_n_steps, 0, whole=True)
        at_least("every_minutes", every_minutes, 0)
        at_least("keep", keep, 1, whole=True)
        self.dirpath, self.keep = Path(dirpath), keep
        self.every_n_epochs, self.every_n_steps, self.every_minutes = every_n_epochs, every_n_steps, every_minutes
        self.signals: Signals | None = None
        self.saved_step, self.saved_at = 0, 0.0
        self.epoch_ended: bool | None = None  # while it saves

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.signals = Signals(trainer.world_size)
        self.saved_step, self.saved_at = trainer.global_step, time.monotonic()

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx % pl_module.batches_per_step == 0:  # else accumulated gradients would be lost
            due = bool(self.every_n_steps) and trainer.global_step % self.every_n_steps == 0
            self._save_if(trainer, due, epoch_ended=False)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        due = bool(self.every_n_epochs) and trainer.current_epoch % self.every_n_epochs == 0
        self._save_if(trainer, due, epoch_ended=True)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._save_if(trainer, True, epoch_ended=True)

    def _save_if(self, trainer: Trainer, due: bool, epoch_ended: bool) -> None:
        assert self.signals is not None
        late = bool(self.every_minutes) and time.monotonic() - self.saved_at > 60 * self.every_minutes
        stopping, late = self.signals.agree(late)
        if (due or late or stopping) and trainer.global_step != self.saved_step:
            self.saved_step, self.saved_at, self.epoch_ended = trainer.global_step, time.monotonic(), epoch_ended
            trainer.save_checkpoint(self.dirpath / LAST_CHECKPOINT, weights_only=False)
            self.epoch_ended = None
            if self.keep > 1 and trainer.is_global_zero:
                name = EARLIER_CHECKPOINTS.format(f"{self.saved_step:08d}")
                shutil.copyfile(self.dirpath / LAST_CHECKPOINT, self.dirpath / name)
                for old in sorted(self.dirpath.glob(EARLIER_CHECKPOINTS.format("*")))[: -self.keep]:
                    old.unlink()
        if stopping:
            self.signals.stop()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        if self.epoch_ended is not None:
            set_progress(checkpoint["loops"]["fit_loop"], trainer, self.epoch_ended)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Find the best checkpoint in the run's folder, wherever that was when it was saved."""
        for callback in trainer.checkpoint_callbacks:
            state = checkpoint["callbacks"].get(callback.state_key)
            if isinstance(callback, ModelCheckpoint) and state:
                folder = Path(str(callback.dirpath))
                if state["best_model_path"] and not (folder / Path(state["best_model_path"]).name).exists():
                    log.warning("%s is gone. A new best checkpoint is chosen.", state["best_model_path"])
                    del checkpoint["callbacks"][callback.state_key]
                    continue
                for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
                    state[key] = state[key] and str(folder / Path(state[key]).name)
                models = state["best_k_models"].items()
                state["best_k_models"] = {str(folder / Path(path).name): score for path, score in models}
                state["dirpath"] = str(folder)
