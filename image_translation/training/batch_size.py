"""The batch size: a search for one that fits, and a hint where one does not."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.tuner.tuning import Tuner
from pytorch_lightning.utilities.memory import is_oom_error
from pytorch_lightning.utilities.seed import isolate_rng

from image_translation.cli.errors import UserError

ONE_DNN = "could not create a primitive"  # its message when it gets no memory
# A process that loads images was ended by the system, or has no place to put them.
WORKER = re.compile(r"DataLoader worker .* (is killed|exited unexpectedly)|unable to allocate shared memory|Bus error")


def find_batch_size(trainer: Trainer, model: LightningModule, datamodule: Any) -> int:
    """Find what ``data.batch_size=auto`` means. UserError if there is not exactly one GPU or one image does not fit."""
    if trainer.world_size > 1 or trainer.strategy.root_device.type == "cpu":  # where the system kills the process
        raise UserError("data.batch_size=auto needs exactly one GPU. Give a number instead, as in data.batch_size=8.")
    with out_of_memory_hint(1, datamodule.image_size):
        return scale_batch_size(trainer, model, datamodule)


def scale_batch_size(trainer: Trainer, model: LightningModule, datamodule: Any) -> int:
    """Train for a few steps on 1, 2, 4 … images, fewer than there are, and return the largest number that fits.

    ``datamodule.batch_size`` becomes that number; the trainer, the model and all random states stay as they were.
    """
    datamodule.setup("fit")
    datamodule.batch_size, images = 1, len(datamodule.datasets["train"])
    callbacks, trainer.callbacks = trainer.callbacks, []  # type: ignore[attr-defined]
    with isolate_rng():
        # From all images on, the Tuner would not reduce a batch size that does not fit.
        Tuner(trainer).scale_batch_size(
            deepcopy(model), datamodule=datamodule, init_val=1, max_trials=(images - 1).bit_length(), max_val=images
        )
    trainer.callbacks = callbacks  # type: ignore[attr-defined]
    return int(datamodule.batch_size)


@contextmanager
def out_of_memory_hint(batch_size: int, image_size: Any) -> Iterator[None]:
    """Turn an error for want of memory, or one that it led to, into a UserError that says what to try."""
    try:
        yield
    except Exception as error:
        if WORKER.search(str(error)):
            raise UserError(f"A process that loads images ended: {str(error).splitlines()[-1]} Set data.num_workers=0, "
                            "or give it more memory (a container: docker run --shm-size=8g).") from error  # fmt: skip
        cause: BaseException | None = error
        while cause and not (is_oom_error(cause) or isinstance(cause, MemoryError) or ONE_DNN in str(cause)):
            cause = cause.__cause__ or cause.__context__
        if cause is None:
            raise
        raise UserError(
            f"Training with data.batch_size={batch_size} and data.image_size={image_size} does not fit in memory. Try "
            "a smaller data.batch_size, model.gradient_checkpointing=true or a smaller data.image_size."
        ) from error
