"""The identity baseline."""

from torch import nn

from image_translation.models.base import ImageTranslationModule


class Identity(ImageTranslationModule):
    """Returns its input unchanged: a model that scores below it has learned nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Identity()

    def configure_optimizers(self) -> None:
        """There is nothing to train."""
