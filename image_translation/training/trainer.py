"""Lightning's Trainer from a run's config."""

import logging
import os
import platform
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, read_write
from pytorch_lightning import Callback, Trainer

from image_translation.cli.app import instantiate
from image_translation.cli.errors import UserError
from image_translation.cli.process import is_main_process
from image_translation.models import ImageTranslationModule
from image_translation.runs.run import Run
from image_translation.training.checkpoint_io import AtomicCheckpointIO
from image_translation.training.device import choose_precision, prepare_device
from image_translation.training.seeding import StepSeeding

log = logging.getLogger(__name__)
# (start of the message, why nobody needs to read it)
UNWANTED_WARNINGS = {
    "The '.*_dataloader' does not have many workers": "data.num_workers is chosen by the machine's cores",
    "The number of training batches .* is smaller than the logging interval": "means over the epoch are logged as well",
    "Using `DistributedSampler` with the dataloaders": "images that it repeats are counted once (ImageScores)",
    "`LightningModule.configure_optimizers` returned `None`": "identity has no optimizer",
    "The lr scheduler dict contains the key": "Pix2Pix advances its schedules itself",
    "Checkpoint directory .* exists and is not empty": "the run folder refuses a second run by itself",
    r".*isinstance\(treespec, LeafSpec\)": "Lightning's own use of torch",
    r"It is recommended to use `self.log\(": "TrainingMetrics averages over all processes",
    "torch.distributed.nn.functional.all_gather is deprecated": "Lightning's own use of torch",
    "Metric `KernelInceptionDistance` will save all": "the features of a test's images fit",
    "You're resuming from a checkpoint that ended before the epoch": "the sampler starts where training stopped",
    r"Detected call of `lr_scheduler.step\(\)` before": "an epoch whose last step was taken before a stop is ended",
    r"`ModelCheckpoint\(monitor=.*could not find the monitored key": "BestCheckpoint says it",
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


def make_trainer(
    cfg: DictConfig, callbacks: list[Callback], trains: bool = True, streams: bool = False, **options: Any
) -> Trainer:
    """The trainer of the config node ``trainer``, with more ``options``; UserError if one is out of range.

    If it ``streams`` pairs, steps between validations are counted over all epochs, whose length nobody knows.
    """
    prepare_device(cfg.accelerator)
    precision = choose_precision(cfg.precision, cfg.accelerator)
    if not trains:  # one device tests it; a fast_dev_run would train
        options |= {"max_epochs": 0, "fast_dev_run": False, "devices": 1, "num_nodes": 1, "strategy": "auto"}
    if streams and trains and cfg.check_val_every_n_epoch == 1:
        if isinstance(cfg.val_check_interval, int):
            options |= {"check_val_every_n_epoch": None}
        else:
            log.info("Streamed pairs: the end of an epoch, when models are validated and saved, may be far away. "
                     "Sooner: trainer.val_check_interval=2000 (steps) checkpoint.every_minutes=10")  # fmt: skip
    options |= {"precision": precision, "callbacks": [StepSeeding(), *callbacks]}
    trainer: Trainer = instantiate(cfg, "trainer", **options)
    asked = trainer.num_devices * trainer.num_nodes
    if trainer.world_size != asked:  # as under srun --ntasks=1
        raise UserError(f"{asked} devices were asked for, but there are {trainer.world_size} processes. Start as many "
                        "tasks as devices: srun --ntasks-per-node=… (trainer.devices, trainer.num_nodes).")  # fmt: skip
    if "plugins" not in cfg:
        trainer.strategy.checkpoint_io = AtomicCheckpointIO()
    if trainer.limit_test_batches == 0:
        raise UserError("trainer.limit_test_batches=0 leaves no image to test the model on.")
    return trainer


def describe(trainer: Trainer, model: ImageTranslationModule) -> dict[str, Any]:
    """What a manifest says of device, precision and size."""
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "device": {"type": device.type, "name": name, "count": trainer.world_size},
        "precision": trainer.precision,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


@contextmanager
def child_processes(run: Run) -> Iterator[None]:
    """Let Lightning start the further processes of one run, and leave no trace of them for the next job of a sweep.

    Lightning starts them by this process's command line and Hydra's ``run.dir``; in a sweep both are the sweep's.
    """
    environment, arguments = dict(os.environ), sys.argv
    hydra: Any = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN:
        sys.argv = [arguments[0], *hydra.overrides.task, "hydra.mode=RUN"]  # an experiment may ask for a sweep
    with read_write(hydra):
        # Lightning puts it between double quotes.
        hydra.run.dir = re.sub(r'(\\*)"', r'\1\1\\"', str(run.folder.absolute()))
    try:
        yield
    except Exception as error:
        run.tell(error)  # before the others see that this process is gone
        raise
    finally:
        if dist.is_available() and dist.is_initialized():
            dist.destroy_process_group()
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = arguments
