"""What every model is compared with: the unchanged input, and a curve of its colors."""

from collections.abc import Iterator

import torch
from pytorch_lightning import Trainer
from torch import Tensor, nn

from image_translation.data import PairedImageDataModule
from image_translation.data.datamodule import TRAINING
from image_translation.data.kinds import Kind
from image_translation.data.transforms import has_class, to_stored
from image_translation.metrics.image_scores import ImageScores
from image_translation.metrics.names import IDENTITY, MEAN_TARGET
from image_translation.networks import ColorCurve

ENOUGH = 1000  # images


class Baselines(nn.Module):
    """The scores of ``color_curve``, fitted to the training images, and of ``identity``, on test images.

    Where inputs have other channels than targets, ``mean_target``, one color, stands in for ``identity``.
    """

    def __init__(self, in_channels: int = 3, out_channels: int = 3) -> None:
        super().__init__()
        self.color_curve = ColorCurve(in_channels, out_channels)
        self.names = ("color_curve", IDENTITY if in_channels == out_channels else MEAN_TARGET)
        if MEAN_TARGET in self.names:
            self.register_buffer("mean", torch.zeros(out_channels))
        self.mean: Tensor
        self.outputs: dict[str, Tensor] = {}  # of the latest test batch, as they are stored

    def set_protocol(self, protocol: str, kind: Kind) -> None:
        self.color_curve_scores, self.other_scores = (ImageScores(protocol, **kind.scale) for _ in self.names)
        self.scores = dict(zip(self.names, (self.color_curve_scores, self.other_scores), strict=True))

    def fit(self, trainer: Trainer) -> None:
        """Fit the curve to all pixels of the training images, and find the mean of their targets.

        Of very many images 1,000 are enough for its few numbers, and a training need not wait for them all.
        """
        datamodule: PairedImageDataModule = trainer.datamodule  # type: ignore[attr-defined]
        means: list[Tensor] = []

        def pairs() -> Iterator[tuple[Tensor, Tensor]]:
            for batch in datamodule.plain_batches(TRAINING, trainer.strategy.root_device, ENOUGH):
                x, y = batch["input"], batch["target"]
                if datamodule.kinds["target"].ignore is not None:  # one row of all pixels that are of a class
                    labeled = has_class(y)[:, 0]
                    x, y = (images.movedim(1, 0)[:, labeled][None, :, None] for images in (x, y))
                means.extend(y.mean(dim=(2, 3)))
                yield x, y

        self.color_curve.fit(pairs())
        if MEAN_TARGET in self.names:
            self.mean.copy_(torch.stack(means).nanmean(0))

    def predict(self, inputs: Tensor) -> dict[str, Tensor]:
        """The outputs of both for inputs (N, C, H, W) in [-1, 1], likewise."""
        other = inputs
        if MEAN_TARGET in self.names:
            other = self.mean[:, None, None].expand(len(inputs), -1, *inputs.shape[-2:])
        return dict(zip(self.names, (self.color_curve(inputs), other), strict=True))

    def update(self, inputs: Tensor, targets: Tensor, names: list[str], kind: Kind) -> None:
        """Score a test batch: inputs (N, C, H, W) in [-1, 1], targets of a ``kind`` as they are stored."""
        self.outputs = {name: to_stored(output, kind) for name, output in self.predict(inputs).items()}
        for name, output in self.outputs.items():
            self.scores[name].update(output, targets, names)
