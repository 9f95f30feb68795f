"""A residual U-Net that corrects a color curve."""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from image_translation.cli.errors import UserError, at_least
from image_translation.networks.color_curve import ColorCurve
from image_translation.networks.layers import Conv2d, apply_layer

STEM = 2  # pixels: it computes at half the resolution, on images folded into channels (docs/models.md)
WIDEST = 8  # times base_channels


class ResidualUNet(nn.Module):
    """The output is a color curve of the input, plus what a U-Net of residual blocks adds to it.

    The last convolution is zero at first, so training begins at the curve, which is fitted before (``curve.fit``).
    Blocks as in He et al. 2016 (identity mappings) with group norm (Wu and He 2018) and SiLU; pixel shuffle as in Shi
    et al. 2016.

    Args:
        in_channels, out_channels: channels of the input and of the output image.
        base_channels: channels at half the resolution, a multiple of 8; they double at each level.
        depth: levels; the lowest is at 1/2^depth of the resolution.
        gradient_checkpointing: store only the maps between levels for the backward pass.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        base_channels: int = 32,
        depth: int = 4,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        at_least("base_channels", base_channels, 8, whole=True)
        if base_channels % 8:
            raise UserError(f"base_channels must be a multiple of 8, got {base_channels}.")
        at_least("depth", depth, 1, whole=True)
        self.gradient_checkpointing = gradient_checkpointing
        self.size_divisibility = 2**depth
        self.curve = ColorCurve(in_channels, out_channels)
        widths = [base_channels * min(2**level, WIDEST) for level in range(depth)]

        self.stem = Conv2d((in_channels + out_channels) * STEM**2, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList([ResidualBlock(widths[0], widths[0])])
        for above, width in itertools.pairwise(widths):
            self.encoder.append(nn.Sequential(Conv2d(above, width, 4, 2, 1), ResidualBlock(width, width)))
        self.middle = nn.Sequential(*(ResidualBlock(widths[-1], widths[-1]) for _ in range(2)))
        self.enlarge, self.decoder = nn.ModuleList(), nn.ModuleList()
        for above, width in zip(widths[-2::-1], widths[:0:-1], strict=True):
            self.enlarge.append(Enlarge(width, above))
            self.decoder.append(ResidualBlock(2 * above, above))
        self.head = nn.Sequential(
            group_norm(widths[0]), nn.SiLU(), zeroed(Conv2d(widths[0], out_channels * STEM**2, 3, padding=1))
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) in [-1, 1] → (N, out_channels, H, W), unbounded, float32."""
        curve: Tensor = self.curve(x)
        both = F.pixel_unshuffle(torch.cat([x, curve], dim=1), STEM)
        maps, skips = self.stem(both.contiguous(memory_format=torch.channels_last)), list[Tensor]()
        for level in self.encoder:
            maps = apply_layer(level, maps, gradient_checkpointing=self.gradient_checkpointing)
            skips.append(maps)
        maps = apply_layer(self.middle, skips.pop(), gradient_checkpointing=self.gradient_checkpointing)
        for enlarge, level in zip(self.enlarge, self.decoder, strict=True):
            maps = apply_layer(level, enlarge(maps), skips.pop(), self.gradient_checkpointing)
        correction: Tensor = F.pixel_shuffle(self.head(maps), STEM)
        return curve + correction.float()


class ResidualBlock(nn.Module):
    """Norm, SiLU and a 3×3 convolution, twice, added to the input; at first it adds nothing."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            group_norm(in_channels), nn.SiLU(), Conv2d(in_channels, out_channels, 3, padding=1),
            group_norm(out_channels), nn.SiLU(), zeroed(Conv2d(out_channels, out_channels, 3, padding=1)),
        )  # fmt: skip
        self.shortcut = Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.layers(x)  # type: ignore[no-any-return]


class Enlarge(nn.Module):
    """Twice the resolution by a 1×1 convolution and pixel shuffle; at first all four pixels are equal (Aitken 2017)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = Conv2d(in_channels, 4 * out_channels, 1)
        for parameter in self.conv.parameters():  # so that there is no checkerboard to unlearn
            parameter.data = parameter.data[::4].repeat_interleave(4, dim=0)

    def forward(self, x: Tensor) -> Tensor:
        n, _, height, width = x.shape
        # All channels of a pixel lie together, as in the output: half the time of F.pixel_shuffle.
        weight, bias = (torch.cat([p[pixel::4] for pixel in range(4)]) for p in self.conv.parameters())
        pixels = F.conv2d(x, weight, bias).permute(0, 2, 3, 1).view(n, height, width, 2, 2, -1)
        return pixels.transpose(2, 3).reshape(n, 2 * height, 2 * width, -1).permute(0, 3, 1, 2)


def group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(min(8, channels // 8), channels)


def zeroed(layer: Conv2d) -> Conv2d:
    """A convolution that returns zeros at first."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
