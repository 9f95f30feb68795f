"""Ending a training when it no longer gets better."""

import logging

import pytorch_lightning as pl

log = logging.getLogger(__name__)


class EarlyStopping(pl.callbacks.EarlyStopping):
    """Lightning's, which says so when it has ended a training."""

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.stopped_epoch:
            log.info("Stopped early: %s was not better than %.4g in the last %d validations.",
                     self.monitor, float(self.best_score), self.wait_count)  # fmt: skip
