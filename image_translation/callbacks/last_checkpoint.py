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
        keep: how many are kept: ``last.ckpt``, and earlier ones as ``step_00001200.ckpt``.
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
        self.saved = (0, True)  # the step of last.ckpt, and whether an epoch had ended
        self.saved_at = 0.0
        self.saving = False

    def state_dict(self) -> dict[str, Any]:
        return {"saved": list(self.saved)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        step, epoch_ended = state_dict["saved"]
        self.saved = (step, epoch_ended)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.signals, self.saved_at = Signals(trainer.world_size), time.monotonic()

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx % pl_module.batches_per_step == 0:  # else accumulated gradients would be lost
            due = bool(self.every_n_steps) and trainer.global_step % self.every_n_steps == 0
            self._save_if(trainer, due or self._time_is_up(), epoch_ended=False)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        due = bool(self.every_n_epochs) and trainer.current_epoch % self.every_n_epochs == 0
        self._save_if(trainer, due or self._time_is_up(), epoch_ended=True)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._save_if(trainer, True, epoch_ended=True)

    def _time_is_up(self) -> bool:
        assert self.signals is not None
        past = time.monotonic() - self.saved_at > 60 * self.every_minutes
        return bool(self.every_minutes) and self.signals.agree(past)

    def _save_if(self, trainer: Trainer, due: bool, epoch_ended: bool) -> None:
        assert self.signals is not None
        stopping, step = self.signals.is_stopping(), trainer.global_step
        is_saved = self.saved == (step, epoch_ended) or (self.saved[0] == step and not epoch_ended)
        if (due or stopping) and not is_saved:
            self._save(trainer, epoch_ended)
        if stopping:
            self.signals.stop()

    def _save(self, trainer: Trainer, epoch_ended: bool) -> None:
        last = self.dirpath / LAST_CHECKPOINT
        if self.keep > 1 and trainer.is_global_zero and last.exists():
            shutil.copyfile(last, self.dirpath / EARLIER_CHECKPOINTS.format(f"{self.saved[0]:08d}"))
        self.saving, self.saved, self.saved_at = True, (trainer.global_step, epoch_ended), time.monotonic()
        trainer.save_checkpoint(last, weights_only=False)
        self.saving = False
        if trainer.is_global_zero:
            for old in sorted(self.dirpath.glob(EARLIER_CHECKPOINTS.format("*")))[: 1 - self.keep or None]:
                old.unlink()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        if self.saving:
            set_progress(checkpoint["loops"]["fit_loop"], trainer, epoch_ended=self.saved[1])

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
