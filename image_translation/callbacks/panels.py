"""Panels of the same few images, to see a model learn."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageOps
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger
from torchvision.transforms.functional import to_pil_image

from image_translation.cli.errors import at_least
from image_translation.data.kinds import to_shown
from image_translation.data.transforms import from_float, to_stored
from image_translation.runs.files import atomic_write

GAP, HEADER, LARGEST = 4, 18, 512  # pixels


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
        columns: dict[str, list[Image.Image]] = {"input": [], "target": [], "output": []}
        training = model.training
        model.eval()
        with model.averaged_weights(), torch.inference_mode(), trainer.precision_plugin.forward_context():
            for batch in trainer.datamodule.fixed_batches("val", self.images, model.device):  # type: ignore[attr-defined]
                for name, images in {**batch, "output": model(batch["input"])}.items():
                    if name in columns:
                        kind = model.input_kind if name == "input" else model.target_kind
                        stored = to_stored(images, kind) if name == "output" else from_float(images, kind)
                        columns[name].append(to_pil_image(to_shown(stored, kind)[0].cpu()))
        model.train(training)
        panel = draw_panel(columns)
        self.dirpath.mkdir(exist_ok=True)
        with atomic_write(self.dirpath / f"epoch_{epoch:04d}.png") as file:
            panel.save(file, "PNG")
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image("panel", [panel], step=trainer.global_step)
            elif isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("panel", np.asarray(panel), trainer.global_step, dataformats="HWC")


def draw_panel(columns: Mapping[str, Sequence[Image.Image]], captions: Sequence[str] = ()) -> Image.Image:
    """Draw images: a column for each name, a row for each image, above it its caption if it has one.

    Larger ones than ``LARGEST`` are scaled down.
    """
    shown = {name: [ImageOps.contain(i, (LARGEST, LARGEST)) if max(i.size) > LARGEST else i for i in images]
             for name, images in columns.items()}  # fmt: skip
    width = max(image.width for images in shown.values() for image in images)
    heights = [max(image.height for image in row) for row in zip(*shown.values(), strict=True)]
    above = GAP + (HEADER if captions else 0)
    tops = list(accumulate((above + height for height in heights), initial=HEADER))  # of rows, and the end
    panel = Image.new("RGB", (GAP + len(shown) * (width + GAP), tops[-1] + GAP), "white")
    pen = ImageDraw.Draw(panel)
    for top, caption in zip(tops, captions, strict=False):
        pen.text((GAP, top + GAP + HEADER // 2), caption, fill="black", anchor="lm")
    for i, (name, images) in enumerate(shown.items()):
        left = GAP + i * (width + GAP)
        pen.text((left + width // 2, HEADER // 2 + 1), name, fill="black", anchor="mm")
        for top, image in zip(tops, images, strict=False):
            panel.paste(image, (left, top + above), image if image.mode == "RGBA" else None)
    return panel
