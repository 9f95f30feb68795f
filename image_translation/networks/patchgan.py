"""Discriminators: a PatchGAN (Isola et al. 2017, sections 3.2.2 and 6.1.2), at one or several scales."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from image_translation.cli.errors import at_least
from image_translation.networks.layers import Conv2d, apply_layer, initialize_weights, norm_layer


class PatchGANDiscriminator(nn.Module):
    """Classifies each 70×70 patch of an input and a target: does the target belong to the input?

    ``in_channels`` counts those of input and target together. Channels double up to 8 times ``base_channels``.
    ``norm`` may also be ``spectral``, which limits the weights (Miyato et al. 2018) and normalizes no maps. The other
    arguments: see ``networks``.
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
            conv = Conv2d(width, 2 * width, 4, stride, 1, bias=norm == "spectral")
            width *= 2
            norms = [] if norm == "spectral" else [norm_layer(norm, width)]
            layers += [conv, *norms, nn.LeakyReLU(0.2, inplace=True)]
        self.layers = nn.Sequential(*layers, Conv2d(width, 1, 4, 1, 1))
        initialize_weights(self)
        if norm == "spectral":
            for layer in self.layers:
                if isinstance(layer, Conv2d):
                    spectral_norm(layer)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Input (N, C, H, W) and target (N, C', H, W) in [-1, 1] → logits (N, 1, H/8 − 2, W/8 − 2)."""
        pair = torch.cat([x, y], dim=1).contiguous(memory_format=torch.channels_last)
        return apply_layer(self.layers, pair, gradient_checkpointing=self.gradient_checkpointing)

    def features(self, x: Tensor, y: Tensor) -> list[Tensor]:
        """Input and target as in ``forward`` → the maps behind each activation, and the logits."""
        maps, found = torch.cat([x, y], dim=1).contiguous(memory_format=torch.channels_last), []
        for layer in self.layers:
            maps = layer(maps)
            if isinstance(layer, nn.LeakyReLU):
                found.append(maps)
        return [*found, maps]


class MultiScaleDiscriminator(nn.Module):
    """A PatchGAN at full resolution, at half of it, and so on (Wang et al. 2018, pix2pixHD).

    ``scales`` counts them. The other arguments: see ``PatchGANDiscriminator``.
    """

    def __init__(self, in_channels: int = 6, base_channels: int = 32, scales: int = 2, norm: str = "instance") -> None:
        super().__init__()
        at_least("scales", scales, 1, whole=True)
        self.scales = nn.ModuleList(PatchGANDiscriminator(in_channels, base_channels, norm) for _ in range(scales))

    def forward(self, x: Tensor, y: Tensor) -> list[list[Tensor]]:
        """Input (N, C, H, W) and target (N, C', H, W) in [-1, 1] → of each scale its maps; the last are the logits."""
        found = []
        for discriminator in self.scales:
            assert isinstance(discriminator, PatchGANDiscriminator)
            found.append(discriminator.features(x, y))
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
        return found
