"""The generator of Pix2Pix: a U-Net (Ronneberger et al. 2015; Isola et al. 2017, section 6.1.1)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from image_translation.cli.errors import at_least, one_of
from image_translation.networks.layers import Conv2d, ConvTranspose2d, apply_layer, initialize_weights, norm_layer
from image_translation.networks.sizes import levels

UPSAMPLES = ("transposed", "resize")
DROPOUT_LAYERS = 3  # with dropout: the first ones of the decoder, as in the paper


class UNetGenerator(nn.Module):
    """Strided convolutions down to 1×1 and transposed ones back, with a skip connection at every resolution.

    An ``image_size`` of 256 gives 8 levels; one that can't be halved so often has fewer. Channels double up to 8 times
    ``base_channels``. ``dropout`` is the probability in the first three decoder layers, in training. ``upsample`` is
    ``transposed``, as in the study, or ``resize``: nearest-neighbor enlargement and a 3×3 convolution, which draw no
    checkerboard (Odena et al. 2016). The other arguments: see ``networks``.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        image_size: int | Sequence[int] = 256,
        base_channels: int = 64,
        norm: str = "instance",
        dropout: float = 0.5,
        gradient_checkpointing: bool = False,
        upsample: str = "transposed",
        depth: int | None = None,
    ) -> None:
        super().__init__()
        one_of("upsample", upsample, UPSAMPLES)
        at_least("base_channels", base_channels, 1, whole=True)
        self.gradient_checkpointing = gradient_checkpointing
        depth = levels(image_size, depth, innermost=1)
        self.size_divisibility = 2**depth
        widths = [base_channels * min(2**level, 8) for level in range(depth)]

        # The first and the innermost level have no norm: a 1×1 map normalized by its own statistics is zero.
        self.encoder = nn.ModuleList([Conv2d(in_channels, widths[0], 4, 2, 1, bias=False)])
        for level in range(1, depth):
            conv = Conv2d(widths[level - 1], widths[level], 4, 2, 1, bias=False)
            norms = [norm_layer(norm, widths[level])] if level < depth - 1 else []
            self.encoder.append(nn.Sequential(nn.LeakyReLU(0.2, inplace=True), conv, *norms))

        self.decoder = nn.ModuleList()
        channels = widths[-1]
        for width in reversed(widths[:-1]):
            up = enlarging_layer(upsample, channels, width, bias=False)
            dropouts = [nn.Dropout(dropout)] if len(self.decoder) < DROPOUT_LAYERS else []
            self.decoder.append(nn.Sequential(nn.ReLU(), up, norm_layer(norm, width), *dropouts))
            channels = 2 * width
        self.head = nn.Sequential(nn.ReLU(), enlarging_layer(upsample, channels, out_channels), nn.Tanh())
        initialize_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) in [-1, 1] → (N, out_channels, H, W) in [-1, 1]."""
        x = self.encoder[0](x.contiguous(memory_format=torch.channels_last))
        skips = []
        for level in self.encoder[1:]:
            # The activation works in place. The decoder's ReLU gives the same for a map and for its LeakyReLU.
            skips.append(level[0](x))  # type: ignore[index]
            x = apply_layer(level[1:], skips[-1], None, self.gradient_checkpointing)  # type: ignore[index]
        for level, skip in zip([*self.decoder, self.head], [None, *reversed(skips)], strict=True):
            x = apply_layer(level, x, skip, self.gradient_checkpointing)
        return x


def enlarging_layer(upsample: str, in_channels: int, out_channels: int, bias: bool = True) -> nn.Module:
    """A layer that doubles height and width."""
    if upsample == "transposed":
        return ConvTranspose2d(in_channels, out_channels, 4, 2, 1, bias=bias)
    return nn.Sequential(nn.Upsample(scale_factor=2), Conv2d(in_channels, out_channels, 3, padding=1, bias=bias))
