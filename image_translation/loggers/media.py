"""Images and tables for whichever loggers there are."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import wandb
from PIL import Image
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger


def log_image(loggers: Sequence[Logger], name: str, image: Image.Image, step: int) -> None:
    """Log an image, where a logger takes images."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(name, [image], step=step)
        elif isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(name, np.asarray(image), step, dataformats="HWC")


def log_table(loggers: Sequence[Logger], name: str, rows: Sequence[dict[str, Any]], step: int) -> None:
    """Log a table with images in it, where a logger has tables."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            data = [[wandb.Image(v) if isinstance(v, Image.Image) else v for v in row.values()] for row in rows]
            logger.log_table(name, list(rows[0]), data, step=step)
