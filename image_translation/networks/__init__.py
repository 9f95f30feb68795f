"""Pure torch: the networks, with no Lightning in them."""

from image_translation.networks.autoencoder import ConvAutoencoder
from image_translation.networks.patchgan import PatchGANDiscriminator
from image_translation.networks.unet import UNetGenerator

__all__ = ["ConvAutoencoder", "PatchGANDiscriminator", "UNetGenerator"]
