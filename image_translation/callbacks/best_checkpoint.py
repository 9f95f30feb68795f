"""The checkpoint that is tested."""

from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from image_translation.runs.folder import BEST_CHECKPOINT


class BestCheckpoint(ModelCheckpoint):
    """Writes ``best.ckpt``: the weights of the best validation, without an optimizer.

    The last weights are validated too, wherever a training ends, so that they can be the best.

    Args:
        dirpath: the folder of the checkpoints.
        monitor: a val metric such as ``val/ssim``; ``auto`` for the model's own choice.
        mode: ``max`` or ``min``: whether more of it is better.
    """

    def __init__(self, dirpath: str, monitor: str = "auto", mode: str = "max") -> None:
        self.choice = monitor
        self.every_n_epoch: int | None = None  # while the last validation runs
        super().__init__(
            dirpath, BEST_CHECKPOINT.removesuffix(self.FILE_EXTENSION), mode=mode, save_weights_only=True,
            auto_insert_metric_name=False, enable_version_counter=False,
        )  # fmt: skip

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        self.monitor = pl_module.best_by if self.choice == "auto" else self.choice
        if self.monitor == "auto":
            self.monitor = pl_module.leading_metric
        super().setup(trainer, pl_module, stage)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *arguments: Any) -> None:
        super().on_train_batch_end(trainer, pl_module, *arguments)
        is_last = trainer.is_last_batch and trainer.current_epoch + 1 == trainer.max_epochs
        if trainer.enable_validation and (is_last or 0 < trainer.max_steps <= trainer.global_step):
            trainer.should_stop = True  # before it stops so, Lightning validates
            self.every_n_epoch, trainer.check_val_every_n_epoch = trainer.check_val_every_n_epoch, None

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if self.every_n_epoch is not None:
            trainer.check_val_every_n_epoch, self.every_n_epoch = self.every_n_epoch, None
        super().on_validation_end(trainer, pl_module)
