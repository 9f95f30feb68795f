"""The baseline that learns nothing."""

from torch import nn

from image_translation.models.base import ImageTranslationModule


class Identity(ImageTranslationModule):
    """Returns its input: a model that scores below it has learnt nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.generator = nn.Identity()
