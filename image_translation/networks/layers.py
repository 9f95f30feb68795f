"""Pieces that the networks share."""

from collections.abc import Callable
from functools import partial

from torch import nn

from image_translation.errors import one_of

NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "instance": partial(nn.InstanceNorm2d, affine=True),
}


def norm_layer(kind: str, channels: int) -> nn.Module:
    """A normalisation with scale and shift: ``batch`` (statistics of the batch, running ones in evaluation) or
    ``instance`` (statistics of the picture itself, in training and afterwards alike).

    Raises:
        UserError: ``kind`` is neither.
    """
    return NORMS[one_of("norm", kind, NORMS)](channels)


def initialise_weights(network: nn.Module, std: float = 0.02) -> None:
    """Draw convolution weights from N(0, std²), scales from N(1, std²), and set biases to 0 (Isola et al. 2017)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, std)
        elif isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d):
            nn.init.normal_(module.weight, 1.0, std)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
