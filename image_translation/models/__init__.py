"""What trains: LightningModules."""

from image_translation.models.base import ImageTranslationModule  # first: a model's file may import it from here

# isort: split
from image_translation.models.autoencoder import UNetAutoencoder
from image_translation.models.color_curve import ColorCurveBaseline
from image_translation.models.identity import Identity
from image_translation.models.pix2pix import Pix2Pix
from image_translation.models.resunet import ResUNet
from image_translation.models.resunet_gan import ResUNetGAN

__all__ = [
    "ColorCurveBaseline",
    "Identity",
    "ImageTranslationModule",
    "Pix2Pix",
    "ResUNet",
    "ResUNetGAN",
    "UNetAutoencoder",
]
