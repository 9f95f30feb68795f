"""The discriminator of Pix2Pix: a PatchGAN (Isola et al. 2017, sections 3.2.2 and 6.1.2)."""

import torch
from torch import Tensor, nn

from image_translation.cli.errors import at_least
from image_translation.networks.layers import Conv2d, apply_layer, initialize_weights, norm_layer


class PatchGANDiscriminator(nn.Module):
    """Classifies each 70×70 patch of an input and a target: does the target belong to the input?

    ``in_channels`` counts those of input and target together. Channels double up to 8 times ``base_channels``. The
    other arguments: see ``networks``.
    """

    def __init__(
        self,
        in_channels: int = 6,
        base_channels: int = 64,
        norm: str = "instance",
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        at_least("base_channels", base_channels, 1, whole=True)
        self.gradient_checkpointing = gradient_checkpointing
        layers: list[nn.Module] = [Conv2d(in_channels, base_channels, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
        width = base_channels
        for stride in (2, 2, 1):
            conv = Conv2d(width, 2 * width, 4, stride, 1, bias=False)
            width *= 2
            layers += [conv, norm_layer(norm, width), nn.LeakyReLU(0.2, inplace=True)]
        self.layers = nn.Sequential(*layers, Conv2d(width, 1, 4, 1, 1))
        initialize_weights(self)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Input (N, C, H, W) and target (N, C', H, W) in [-1, 1] → logits (N, 1, H/8 − 2, W/8 − 2)."""
        pair = torch.cat([x, y], dim=1).contiguous(memory_format=torch.channels_last)
        return apply_layer(self.layers, pair, gradient_checkpointing=self.gradient_checkpointing)
