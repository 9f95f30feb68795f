"""The checkpoint that is tested."""

from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from image_translation.runs.folder import BEST_CHECKPOINT


class BestCheckpoint(ModelCheckpoint):
    """Writes ``best.ckpt``: the weights of the best epoch, without an optimizer.

    Args:
        dirpath: the folder of the checkpoints.
        monitor: a val metric such as ``val/ssim``; ``auto`` for the model's own choice.
        mode: ``max`` or ``min``: whether more of it is better.
    """

    def __init__(self, dirpath: str, monitor: str = "auto", mode: str = "max") -> None:
        self.choice = monitor
        super().__init__(
            dirpath, BEST_CHECKPOINT.removesuffix(self.FILE_EXTENSION), mode=mode, save_weights_only=True,
            auto_insert_metric_name=False, enable_version_counter=False,
        )  # fmt: skip

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        self.monitor = pl_module.best_by if self.choice == "auto" else self.choice
        if self.monitor == "auto":
            self.monitor = pl_module.leading_metric
        super().setup(trainer, pl_module, stage)
