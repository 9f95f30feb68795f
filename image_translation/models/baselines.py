"""What every model is measured against: the unchanged input, and a curve of its colors."""

from pytorch_lightning import Trainer
from torch import Tensor, nn

from image_translation.data import PairedImageDataModule
from image_translation.data.datamodule import TRAINING
from image_translation.data.transforms import to_uint8
from image_translation.metrics.image_scores import ImageScores
from image_translation.metrics.names import BASELINES
from image_translation.networks import ColorCurve


class Baselines(nn.Module):
    """The scores of ``color_curve``, fitted to the training images, and of ``identity``, on test images."""

    def __init__(self) -> None:
        super().__init__()
        self.color_curve = ColorCurve()
        self.outputs: dict[str, Tensor] = {}  # of the latest test batch, as uint8

    def set_protocol(self, protocol: str) -> None:
        self.color_curve_scores, self.identity_scores = ImageScores(protocol), ImageScores(protocol)
        self.scores = dict(zip(BASELINES, (self.color_curve_scores, self.identity_scores), strict=True))

    def fit(self, trainer: Trainer) -> None:
        """Fit the curve to all pixels of the training images."""
        datamodule: PairedImageDataModule = trainer.datamodule  # type: ignore[attr-defined]
        batches = datamodule.plain_batches(TRAINING, trainer.strategy.root_device)
        self.color_curve.fit((batch["input"], batch["target"]) for batch in batches)

    def update(self, inputs: Tensor, targets: Tensor, names: list[str]) -> None:
        """Score a test batch: inputs (N, C, H, W) in [-1, 1], targets as uint8."""
        self.outputs = dict(zip(BASELINES, (to_uint8(self.color_curve(inputs)), to_uint8(inputs)), strict=True))
        for name, output in self.outputs.items():
            self.scores[name].update(output, targets, names)
