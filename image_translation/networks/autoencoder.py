"""The study's autoencoder: a convolutional encoder and decoder with skip connections."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from image_translation.cli.errors import at_least
from image_translation.networks.layers import Conv2d, ConvTranspose2d, apply_layer, initialize_weights, norm_layer
from image_translation.networks.sizes import levels

INNERMOST = 8  # pixels of the innermost map's sides, or a little more


class ConvAutoencoder(nn.Module):
    """Strided convolutions down to 8×8 and transposed ones back, with skip connections; the last one is the input.

    An ``image_size`` of 256 gives 5 levels; one that can't be halved so often has fewer. The first two levels and the
    decoder have no norm. The arguments: see ``networks``.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        image_size: int | Sequence[int] = 256,
        base_channels: int = 128,
        norm: str = "instance",
        gradient_checkpointing: bool = False,
        depth: int | None = None,
    ) -> None:
        super().__init__()
        at_least("base_channels", base_channels, 1, whole=True)
        self.gradient_checkpointing = gradient_checkpointing
        depth = levels(image_size, depth, innermost=INNERMOST)
        self.size_divisibility = 2**depth
        self.smallest_size = 2 * self.size_divisibility  # a 1×1 map has no statistics to be normalized by
        widths = [base_channels * min(2 ** max(level - 1, 0), 4) for level in range(depth)]

        self.encoder = nn.ModuleList()
        channels = in_channels
        for level, width in enumerate(widths):
            norms = [norm_layer(norm, width)] if level >= 2 else []
            conv = Conv2d(channels, width, 3, 2, 1)
            self.encoder.append(nn.Sequential(conv, *norms, nn.LeakyReLU(0.2, inplace=True)))
            channels = width

        self.decoder = nn.ModuleList()
        for width, skip in zip([*widths[-2::-1], out_channels], [*widths[-2::-1], in_channels], strict=True):
            up = ConvTranspose2d(channels, width, 3, 2, padding=1, output_padding=1)
            self.decoder.append(nn.Sequential(up, nn.LeakyReLU(0.2, inplace=True)))
            channels = width + skip
        # "Same" padding of an even kernel adds one row and one column at the end.
        self.head = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(channels, out_channels, 2))
        initialize_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) in [-1, 1] → (N, out_channels, H, W), unbounded."""
        x = x.contiguous(memory_format=torch.channels_last)
        skips = []
        for level in self.encoder:
            skips.append(x)
            x = apply_layer(level, x, gradient_checkpointing=self.gradient_checkpointing)
        for level, skip in zip([*self.decoder, self.head], [None, *reversed(skips)], strict=True):
            x = apply_layer(level, x, skip, self.gradient_checkpointing)
        return x
