"""The color curve as a model of its own."""

from image_translation.models.base import ImageTranslationModule


class ColorCurveBaseline(ImageTranslationModule):
    """Changes colors and nothing else: a model that scores below it has learned no structure.

    It is fitted in closed form to the pixels of the training images, up to 1,000 of them, when training begins; there
    are no steps and no seeds.
    """

    def __init__(self, in_channels: int = 3, out_channels: int = 3) -> None:
        super().__init__(in_channels=in_channels, out_channels=out_channels)
        self.generator = self.baselines.color_curve

    def configure_optimizers(self) -> None:
        """There is nothing to train."""
