"""The layers that the networks share: torch's own, computed in the fastest way for the layout ``channels_last``."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from image_translation.cli.errors import one_of

MATMUL_PIXELS = 128  # up to so many pixels in a batch's maps a matrix product is faster on a CPU (docs/performance.md)


def _use_matmul(x: Tensor, pixels: int) -> bool:
    """Whether to compute a convolution as one matrix product: a CPU spends the time of small maps on the weights."""
    return not torch.compiler.is_compiling() and x.device.type == "cpu" and pixels <= MATMUL_PIXELS


class Conv2d(nn.Conv2d):
    """``nn.Conv2d`` with a square kernel, zero padding and one group."""

    def forward(self, x: Tensor) -> Tensor:
        n, _, height, width = x.shape
        kernel, stride, padding = self.kernel_size[0], self.stride[0], int(self.padding[0])
        height, width = ((side + 2 * padding - kernel) // stride + 1 for side in (height, width))
        if not _use_matmul(x, n * height * width):
            return super().forward(x)
        patches = F.unfold(x, kernel, padding=padding, stride=stride)
        # The weights come first, so that their gradient has their own layout.
        y = self.weight.flatten(1) @ patches.transpose(0, 1).flatten(1)
        y = y.view(-1, n, height, width).permute(1, 0, 2, 3).contiguous(memory_format=torch.channels_last)
        return y if self.bias is None else y + self.bias[:, None, None].to(y.dtype)


class ConvTranspose2d(nn.ConvTranspose2d):
    """``nn.ConvTranspose2d`` with a square kernel and one group."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        n, channels, height, width = x.shape
        kernel, stride, padding = self.kernel_size[0], self.stride[0], int(self.padding[0])
        if output_size is not None or not _use_matmul(x, n * height * width):
            return super().forward(x, output_size)
        patches = x.permute(0, 2, 3, 1).reshape(-1, channels) @ self.weight.flatten(1)
        patches = patches.view(n, height * width, -1).transpose(1, 2)
        more = kernel - 2 * padding + self.output_padding[0]
        full = ((height - 1) * stride + more, (width - 1) * stride + more)
        y = F.fold(patches, full, kernel, padding=padding, stride=stride)
        return y if self.bias is None else y + self.bias[:, None, None].to(y.dtype)


class InstanceNorm2d(nn.InstanceNorm2d):
    """``nn.InstanceNorm2d`` with scale and shift, which keeps the layout ``channels_last``.

    Torch's own copies each map to the other layout and back. The statistics are float32 in any precision.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling():  # plain operations, which the compiler merges into one
            variance, mean = torch.var_mean(x.float(), (2, 3), correction=0, keepdim=True)
            scale = (variance + self.eps).rsqrt() * self.weight[:, None, None]
            return ((x.float() - mean) * scale + self.bias[:, None, None]).to(x.dtype)
        if x.device.type == "cpu" or len(x) == 1:  # the instance norm of one image is the batch norm of a batch of one
            scale, shift = self.weight, self.bias
            images = [F.batch_norm(p, None, None, scale, shift, True, 0.0, self.eps) for p in torch.split(x, 1)]
            return torch.cat(images) if len(images) > 1 else images[0]
        return super().forward(x).contiguous(memory_format=torch.channels_last)


NORMS: dict[str, type[nn.Module]] = {"batch": nn.BatchNorm2d, "instance": InstanceNorm2d}


def norm_layer(norm: str, channels: int) -> nn.Module:
    """A normalization with scale and shift: ``batch`` or ``instance``."""
    return NORMS[one_of("norm", norm, NORMS)](channels)


def apply_layer(
    layer: nn.Module, x: Tensor, skip: Tensor | None = None, gradient_checkpointing: bool = False
) -> Tensor:
    """Concatenate the channels of ``x`` and ``skip``, if there is one, and apply ``layer``.

    With ``gradient_checkpointing`` the maps inside of it are not stored; the backward pass computes them again
    (Chen et al. 2016, "Training deep nets with sublinear memory cost").
    """

    def forward(x: Tensor, skip: Tensor | None) -> Tensor:
        if skip is not None:
            # A 1×1 map has both layouts, and torch.cat may choose the other one.
            x = torch.cat([x.contiguous(memory_format=torch.channels_last), skip], dim=1)
        y: Tensor = layer(x)
        return y

    if not (gradient_checkpointing and torch.is_grad_enabled()):
        return forward(x, skip)
    options: dict[str, Any] = {"context_fn": lambda: (nullcontext(), _statistics_kept(layer))}
    if torch.compiler.is_compiling():  # it traces one computation and updates no statistics twice
        options = {}
    y: Tensor = checkpoint(forward, x, skip, use_reentrant=False, **options)
    return y


@contextmanager
def _statistics_kept(layer: nn.Module) -> Iterator[None]:
    """Keep batch norms from updating their running statistics a second time with the same batch."""
    norms = [module for module in layer.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count


def initialize_weights(network: nn.Module, std: float = 0.02) -> None:
    """Draw convolution weights from N(0, std²) and scales from N(1, std²), and set biases to 0 (Isola et al. 2017)."""
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        else:
            nn.init.normal_(parameter, 0.0 if parameter.ndim == 4 else 1.0, std)
