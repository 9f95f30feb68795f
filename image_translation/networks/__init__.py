"""The networks, in pure torch."""

from image_translation.networks.autoencoder import ConvAutoencoder
from image_translation.networks.patchgan import PatchGANDiscriminator
from image_translation.networks.unet import UNetGenerator

__all__ = ["ConvAutoencoder", "PatchGANDiscriminator", "UNetGenerator"]
