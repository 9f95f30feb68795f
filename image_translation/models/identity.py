"""The identity baseline."""

from torch import nn

from image_translation.cli.errors import UserError
from image_translation.models.base import ImageTranslationModule


class Identity(ImageTranslationModule):
    """Returns its input unchanged: a model that scores below it has learned nothing."""

    def __init__(self, in_channels: int = 3, out_channels: int = 3) -> None:
        super().__init__(in_channels=in_channels, out_channels=out_channels)
        if in_channels != out_channels:
            raise UserError(f"identity needs targets with the channels of inputs, got {in_channels} → {out_channels}.")
        self.generator = nn.Identity()

    def configure_optimizers(self) -> None:
        """There is nothing to train."""
