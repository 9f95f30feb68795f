"""The batch size: a search for one that fits, and a hint where one does not."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.tuner.tuning import Tuner
from pytorch_lightning.utilities.memory import is_oom_error
from pytorch_lightning.utilities.seed import isolate_rng

from image_translation.cli.errors import UserError


def find_batch_size(trainer: Trainer, model: LightningModule, datamodule: Any) -> int:
    """What ``data.batch_size=auto`` stands for: see ``scale_batch_size``. Raises UserError if one image is too much."""
    if trainer.world_size > 1 or trainer.strategy.root_device.type == "cpu":  # whose process the system would kill
        raise UserError("data.batch_size=auto needs exactly one GPU. Give a number instead, as in data.batch_size=8.")
    with out_of_memory_hint(1, datamodule.image_size):
        return scale_batch_size(trainer, model, datamodule)


def scale_batch_size(trainer: Trainer, model: LightningModule, datamodule: Any) -> int:
    """Train a few steps each on batches of 1, 2, 4 … images, as long as they fit and are fewer than all images.

    Returns the last size, which ``datamodule.batch_size`` keeps. Model, trainer and random states stay as they were.
    """
    datamodule.setup("fit")
    datamodule.batch_size, images = 1, len(datamodule.datasets["train"])
    callbacks, trainer.callbacks = trainer.callbacks, []  # type: ignore[attr-defined]
    with isolate_rng():
        Tuner(trainer).scale_batch_size(
            deepcopy(model), datamodule=datamodule, init_val=1, max_trials=(images - 1).bit_length(), max_val=images
        )  # it could not lower a batch size of all images or more
    trainer.callbacks = callbacks  # type: ignore[attr-defined]
    return int(datamodule.batch_size)


@contextmanager
def out_of_memory_hint(batch_size: int, image_size: int) -> Iterator[None]:
    """Turn an out-of-memory error, or one that follows it, into a UserError that says what to try."""
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause and not _is_out_of_memory(cause):
            cause = None
        if cause is None:
            raise
        raise UserError(
            f"Training with data.batch_size={batch_size} and data.image_size={image_size} does not fit in memory. Try "
            "a smaller data.batch_size, model.gradient_checkpointing=true or a smaller data.image_size."
        ) from error


def _is_out_of_memory(error: BaseException) -> bool:
    one_dnn = "could not create a primitive" in str(error)
    return one_dnn or isinstance(error, MemoryError) or is_oom_error(error)
