"""The generator of Pix2Pix: a U-Net (Ronneberger et al. 2015; Isola et al. 2017, section 6.1.1)."""

import torch
from torch import Tensor, nn

from image_translation.cli.errors import log2_of
from image_translation.networks.layers import Conv2d, ConvTranspose2d, apply_layers, initialize_weights, norm_layer

DROPOUT_LAYERS = 3  # with dropout: the first ones of the decoder, as in the paper


class UNetGenerator(nn.Module):
    """Strided convolutions down to 1×1 and transposed ones back, with a skip connection at every resolution.

    Args:
        in_channels: channels of the input image.
        out_channels: channels of the output image.
        image_size: height and width of training images, a power of two; sets the depth (256 → 8 levels).
        base_channels: channels of the first layer; they double up to 8 times as many.
        norm: ``instance`` or ``batch``.
        dropout: probability in the first three decoder layers, in training.
        gradient_checkpointing: store only the maps between levels for the backward pass, which computes the rest again.

    Height and width of an image must be multiples of ``size_divisibility``.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        image_size: int = 256,
        base_channels: int = 64,
        norm: str = "instance",
        dropout: float = 0.5,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.gradient_checkpointing = gradient_checkpointing
        depth = log2_of("image_size", image_size)
        self.size_divisibility = 2**depth
        widths = [base_channels * min(2**level, 8) for level in range(depth)]

        # The first and the innermost level have no norm: a 1×1 map normalized by its own statistics is zero.
        self.encoder = nn.ModuleList([Conv2d(in_channels, widths[0], 4, 2, 1, bias=False)])
        for level in range(1, depth):
            layers: list[nn.Module] = [
                nn.LeakyReLU(0.2, inplace=True),
                Conv2d(widths[level - 1], widths[level], 4, 2, 1, bias=False),
            ]
            if level < depth - 1:
                layers.append(norm_layer(norm, widths[level]))
            self.encoder.append(nn.Sequential(*layers))

        self.decoder = nn.ModuleList()
        for level in reversed(range(1, depth)):
            channels = widths[level] if level == depth - 1 else 2 * widths[level]
            layers = [
                nn.ReLU(),
                ConvTranspose2d(channels, widths[level - 1], 4, 2, 1, bias=False),
                norm_layer(norm, widths[level - 1]),
            ]
            if depth - 1 - level < DROPOUT_LAYERS:
                layers.append(nn.Dropout(dropout))
            self.decoder.append(nn.Sequential(*layers))
        self.head = nn.Sequential(nn.ReLU(), ConvTranspose2d(2 * widths[0], out_channels, 4, 2, 1), nn.Tanh())
        initialize_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) in [-1, 1] → (N, out_channels, H, W) in [-1, 1]."""
        x = x.contiguous(memory_format=torch.channels_last)
        first, *blocks = self.encoder
        x = first(x)
        skips = []
        for block in blocks:
            activation, *layers = block.children()
            # The activation works in place. The decoder's ReLU gives the same for a map and for its LeakyReLU.
            skips.append(activation(x))
            x = apply_layers(layers, skips[-1], gradient_checkpointing=self.gradient_checkpointing)
        for block, skip in zip([*self.decoder, self.head], [None, *reversed(skips)], strict=True):
            x = apply_layers([block], x, skip, self.gradient_checkpointing)
        return x
