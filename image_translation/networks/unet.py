"""The generator of Pix2Pix: a U-Net (Ronneberger et al. 2015; Isola et al. 2017, section 6.1.1)."""

import torch
from torch import Tensor, nn

from image_translation.cli.errors import log2_of
from image_translation.networks.layers import Conv2d, ConvTranspose2d, initialize_weights, norm_layer, run

DROPOUT_LAYERS = 3  # the first layers of the decoder, as in the paper


class UNetGenerator(nn.Module):
    """Halve a image down to 1×1, double it back, and hand every resolution across by a skip connection.

    Args:
        in_channels: channels of the input image.
        out_channels: channels of the output image.
        image_size: height and width that the network is built for, a power of two; sets the depth (256 → 8 levels).
        base_channels: channels after the first layer; they double up to 8 times as many.
        norm: ``instance`` or ``batch``.
        dropout: probability in the first three decoder layers, while training.
        gradient_checkpointing: save memory in training: keep only what stands between the layers (gradient checkpointing).
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

        # Neither the first nor the innermost level has a norm: a 1×1 map normalized by its own statistics is zero.
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
        """(N, in_channels, H, W) in [-1, 1] → (N, out_channels, H, W) in [-1, 1]; H and W multiples of ``size_divisibility``."""
        x = x.contiguous(memory_format=torch.channels_last)
        first, *blocks = self.encoder
        x = first(x)
        skips = []
        for activation, *layers in map(list, (block.children() for block in blocks)):
            # Changed in place: the decoder's ReLU makes the same of a map and of its LeakyReLU.
            skips.append(activation(x))
            x = run(layers, skips[-1], gradient_checkpointing=self.gradient_checkpointing)
        innermost, *blocks = [*self.decoder, self.head]
        x = run([innermost], x, gradient_checkpointing=self.gradient_checkpointing)
        for block in blocks:
            x = run([block], x, skips.pop(), self.gradient_checkpointing)
        return x
