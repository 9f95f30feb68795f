"""What a command does around Lightning: keep it quiet, and say what it runs on."""

import logging
import os
import platform
import secrets
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import read_write
from pytorch_lightning import Trainer

from image_translation.cli.errors import UserError, one_of
from image_translation.cli.process import is_main_process
from image_translation.models import ImageTranslationModule

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")  # the weights stay in float32

# (start of the message, why nobody needs to read it)
UNWANTED_WARNINGS = {
    "The '.*_dataloader' does not have many workers": "data.num_workers is chosen by the machine's cores",
    "The number of training batches .* is smaller than the logging interval": "means over the epoch are logged as well",
    "`training_step` returned `None`": "optimization is manual, so nothing is returned",
    "Using `DistributedSampler` with the dataloaders": "images that it repeats are counted once (metrics.ImageScores)",
    "`LightningModule.configure_optimizers` returned `None`": "identity has no optimizer",
    "Checkpoint directory .* exists and is not empty": "the run folder refuses a second run by itself",
    r".*isinstance\(treespec, LeafSpec\)": "Lightning's own use of torch",
    r"It is recommended to use `self.log\(": "the means over all processes are an epoch's (means.py)",
    "Metric `KernelInceptionDistance` will save all": "the features of a test's images fit",
    "You're resuming from a checkpoint that ended before the epoch": "the order begins where it ended (randomness.py)",
    r"Detected call of `lr_scheduler.step\(\)` before": "an epoch whose last step was taken before a stop is ended",
    "The `srun` command is available": "one process is enough unless trainer=ddp is asked for",
}


def silence_lightning() -> None:
    """Keep Lightning's hints off the terminal; errors and everything unforeseen still show."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if not is_main_process():
        logging.getLogger("image_translation").setLevel(logging.WARNING)
    for message in UNWANTED_WARNINGS:
        warnings.filterwarnings("ignore", message)


def seed_all(seed: int | None) -> int:
    """Seed every generator of random numbers; without a seed draw one, the same for all processes of a run.

    Raises:
        UserError: the seed is no whole number from 0 to 2³² − 1.
    """
    if seed is None and "PL_GLOBAL_SEED" not in os.environ:
        seed = secrets.randbits(32)
    if seed is not None and (not isinstance(seed, int) or not 0 <= seed < 2**32):
        raise UserError(f"seed must be a whole number from 0 to {2**32 - 1}, or null, got {seed!r}.")
    return pl.seed_everything(seed, workers=True, verbose=False)


@contextmanager
def own_processes(folder: Path) -> Iterator[None]:
    """Let Lightning start further processes for one run, and leave no trace of them for the next job of a sweep.

    Lightning starts them by this process's command line and Hydra's ``run.dir``; in a sweep both are the whole sweep's.
    """
    environment, arguments = dict(os.environ), sys.argv
    hydra: Any = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN:
        sys.argv = [arguments[0], *hydra.overrides.task, "hydra.mode=RUN"]  # an experiment may ask for a sweep
        with read_write(hydra):
            hydra.run.dir = str(folder.absolute())
    try:
        yield
    finally:
        if dist.is_available() and dist.is_initialized():
            dist.destroy_process_group()
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = arguments


def check_trainer(trainer: Trainer) -> None:
    """Check options of Lightning that it would refuse late, or that don't fit these models.

    Raises:
        UserError: one doesn't; the text says what to use instead.
    """
    one_of("trainer.precision", str(trainer.precision), PRECISIONS)
    if trainer.gradient_clip_val or trainer.accumulate_grad_batches != 1:
        raise UserError(
            "Clipping and accumulation are the models' own: use model.gradient_clip_val and model.accumulate_grad_batches."
        )
    if trainer.limit_test_batches == 0:
        raise UserError("trainer.limit_test_batches=0 leaves no image to test the model on.")


def describe(trainer: Trainer, model: ImageTranslationModule) -> dict[str, Any]:
    """The facts of a run that are known once there is a trainer: device, precision and size."""
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "device": {"type": device.type, "name": name, "count": trainer.world_size},
        "precision": trainer.precision,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }
