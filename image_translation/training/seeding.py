"""Random numbers that depend on the seed and the place in training alone, so that a resumed run draws the same."""

import os
import random
import secrets
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from image_translation.cli.errors import UserError


def seed_everything(seed: int | None) -> int:
    """Seed every generator of random numbers; without a seed draw one, the same for all processes of a run."""
    if seed is None and "PL_GLOBAL_SEED" not in os.environ:
        seed = secrets.randbits(32)
    if seed is not None and (not isinstance(seed, int) or not 0 <= seed < 2**32):
        raise UserError(f"seed must be a whole number from 0 to {2**32 - 1}, or null, got {seed!r}.")
    return pl.seed_everything(seed, workers=True, verbose=False)


def derive_seed(seed: int, *place: int) -> int:
    """A seed for a place in training, independent of those for other places."""
    return int(np.random.SeedSequence([seed, *place]).generate_state(1)[0])


class StepSeeding(Callback):
    """Seeds all generators before each batch by the run's seed, the batch and the device: dropout, and what else a
    model draws."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seed = torch.initial_seed() % 2**32

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        number = derive_seed(self.seed, trainer.current_epoch, batch_idx, trainer.global_rank)
        torch.manual_seed(number)
        np.random.seed(number)
        random.seed(number)
