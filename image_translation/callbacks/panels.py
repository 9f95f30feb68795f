"""Panels of the same few images, to see a model learn."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger
from torchvision.transforms.functional import to_pil_image

from image_translation.cli.errors import at_least
from image_translation.data.transforms import to_uint8
from image_translation.runs.files import atomic_write

GAP, HEADER = 4, 18  # pixels


class Panels(Callback):
    """Draws input | target | output of fixed val images, before training (epoch 0) and after every so many epochs.

    Args:
        dirpath: where the panels go; loggers that take images get them too, as ``panel``.
        panel_every: epochs between panels; the last epoch has one in any case.
        images: how many val images, spread evenly over the split.
    """

    def __init__(self, dirpath: str, panel_every: int = 1, images: int = 4) -> None:
        at_least("panel_every", panel_every, 1, whole=True)
        at_least("images", images, 1, whole=True)
        self.dirpath, self.panel_every, self.images = Path(dirpath), panel_every, images

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        if not (self.dirpath / "epoch_0000.png").exists():  # a resumed run has it
            self._draw(trainer, pl_module, epoch=0)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        epoch = trainer.current_epoch + 1
        if epoch % self.panel_every == 0:
            self._draw(trainer, pl_module, epoch)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.current_epoch % self.panel_every:
            self._draw(trainer, pl_module, trainer.current_epoch)

    def _draw(self, trainer: Trainer, model: Any, epoch: int) -> None:
        if not trainer.is_global_zero:
            return
        batch = trainer.datamodule.fixed_batch("val", self.images, model.device)  # type: ignore[attr-defined]
        training = model.training
        model.eval()
        with model.averaged_weights(), torch.inference_mode(), trainer.precision_plugin.forward_context():
            columns = {
                "input": to_uint8(batch["input"]),
                "target": to_uint8(batch["target"]),
                "output": to_uint8(model(batch["input"])),
            }
        model.train(training)
        panel = draw_panel({name: [to_pil_image(p) for p in column.cpu()] for name, column in columns.items()})
        self.dirpath.mkdir(exist_ok=True)
        with atomic_write(self.dirpath / f"epoch_{epoch:04d}.png") as file:
            panel.save(file, "PNG")
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image("panel", [panel], step=trainer.global_step)
            elif isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("panel", np.asarray(panel), trainer.global_step, dataformats="HWC")


def draw_panel(columns: Mapping[str, Sequence[Image.Image]], captions: Sequence[str] = ()) -> Image.Image:
    """Draw images of one size: a column for each name, a row for each image, above it its caption if it has one."""
    first = next(iter(columns.values()))
    (width, height), rows = first[0].size, len(first)
    above = HEADER if captions else 0
    size = (GAP + len(columns) * (width + GAP), HEADER + GAP + rows * (above + height + GAP))
    panel = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(panel)
    for j, caption in enumerate(captions):
        pen.text((GAP, HEADER + GAP + j * (above + height + GAP) + HEADER // 2), caption, fill="black", anchor="lm")
    for i, (name, images) in enumerate(columns.items()):
        left = GAP + i * (width + GAP)
        pen.text((left + width // 2, HEADER // 2 + 1), name, fill="black", anchor="mm")
        for j, image in enumerate(images):
            panel.paste(image, (left, HEADER + GAP + above + j * (above + height + GAP)))
    return panel
