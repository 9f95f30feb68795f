"""The networks, in pure torch, for images whose height and width are multiples of ``size_divisibility``.

Arguments that they share:
    in_channels, out_channels: channels of the input and of the output image.
    image_size: height and width of training images, or one number for both: multiples of 32, which set the depth.
    depth: how often the images are halved, if that is not to be set by ``image_size``.
    base_channels: channels of the first layer.
    norm: ``instance`` or ``batch``.
    gradient_checkpointing: store only the maps between levels for the backward pass, which computes the rest again.

A ValueError names an argument with another value.
"""

from image_translation.networks.autoencoder import ConvAutoencoder
from image_translation.networks.color_curve import ColorCurve
from image_translation.networks.patchgan import MultiScaleDiscriminator, PatchGANDiscriminator
from image_translation.networks.resunet import ResidualUNet
from image_translation.networks.unet import UNetGenerator

__all__ = [
    "ColorCurve",
    "ConvAutoencoder",
    "MultiScaleDiscriminator",
    "PatchGANDiscriminator",
    "ResidualUNet",
    "UNetGenerator",
]
