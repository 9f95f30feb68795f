"""Pieces that the networks share: the layers of torch, by the fastest way to the same result."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from image_translation.cli.errors import one_of

SMALL = 128  # pixels of all maps of a batch, up to which a product of matrices is faster on a CPU (docs/performance.md)


def _as_product(x: Tensor, pixels: int) -> bool:
    """Whether a convolution is better done as one product of matrices: its time goes into weights, not into pixels."""
    return x.device.type == "cpu" and pixels <= SMALL and not torch.compiler.is_compiling()


class Conv2d(nn.Conv2d):
    """``nn.Conv2d`` with a square kernel, padded with zeros, in one group."""

    def forward(self, x: Tensor) -> Tensor:
        n, _, height, width = x.shape
        kernel, stride, padding = self.kernel_size[0], self.stride[0], int(self.padding[0])
        height, width = ((side + 2 * padding - kernel) // stride + 1 for side in (height, width))
        if not _as_product(x, n * height * width):
            return super().forward(x)
        patches = F.unfold(x, kernel, padding=padding, stride=stride)
        # The weights stand first, so that their gradient comes in their own layout.
        y = self.weight.flatten(1) @ patches.transpose(0, 1).flatten(1)
        y = y.view(-1, n, height, width).permute(1, 0, 2, 3).contiguous(memory_format=torch.channels_last)
        return y if self.bias is None else y + self.bias[:, None, None].to(y.dtype)


class ConvTranspose2d(nn.ConvTranspose2d):
    """``nn.ConvTranspose2d`` with a square kernel, in one group."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        n, channels, height, width = x.shape
        kernel, stride, padding = self.kernel_size[0], self.stride[0], int(self.padding[0])
        if output_size is not None or not _as_product(x, n * height * width):
            return super().forward(x, output_size)
        patches = x.permute(0, 2, 3, 1).reshape(-1, channels) @ self.weight.flatten(1)
        patches = patches.view(n, height * width, -1).transpose(1, 2)
        more = kernel - 2 * padding + self.output_padding[0]
        full = ((height - 1) * stride + more, (width - 1) * stride + more)
        y = F.fold(patches, full, kernel, padding=padding, stride=stride)
        return y if self.bias is None else y + self.bias[:, None, None].to(y.dtype)


class InstanceNorm2d(nn.InstanceNorm2d):
    """``nn.InstanceNorm2d`` with scale and shift, for maps in the layout ``channels_last``.

    Torch's own would copy each map to the other layout and back. The statistics are float32 in any precision.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling():  # plain operations, to be merged into one
            variance, mean = torch.var_mean(x.float(), (2, 3), correction=0, keepdim=True)
            scale = (variance + self.eps).rsqrt() * self.weight[:, None, None]
            return ((x.float() - mean) * scale + self.bias[:, None, None]).to(x.dtype)
        if x.device.type == "cpu" or len(x) == 1:
            # The norm of a image by its own statistics is the batch norm of a batch of one.
            scale, shift = self.weight, self.bias
            images = [F.batch_norm(p, None, None, scale, shift, True, 0.0, self.eps) for p in torch.split(x, 1)]
            return torch.cat(images) if len(images) > 1 else images[0]
        return super().forward(x).contiguous(memory_format=torch.channels_last)


NORMS: dict[str, Callable[[int], nn.Module]] = {"batch": nn.BatchNorm2d, "instance": InstanceNorm2d}


def norm_layer(kind: str, channels: int) -> nn.Module:
    """A normalization with scale and shift: ``batch`` (statistics of the batch, running ones in evaluation) or
    ``instance`` (statistics of the image itself, in training and afterwards alike).

    Raises:
        UserError: ``kind`` is neither.
    """
    return NORMS[one_of("norm", kind, NORMS)](channels)


def join(x: Tensor, skip: Tensor) -> Tensor:
    """Concatenate channels, in the layout ``channels_last`` (a map of 1×1 has both, and would pass on the other)."""
    return torch.cat([x.contiguous(memory_format=torch.channels_last), skip], dim=1)


def run(
    layers: Iterable[nn.Module], x: Tensor, skip: Tensor | None = None, gradient_checkpointing: bool = False
) -> Tensor:
    """``x``, joined with ``skip`` if there is one, through all ``layers``.

    With ``gradient_checkpointing`` nothing in between is kept for the backward pass, which computes it again: gradient checkpointing
    (Chen et al. 2016, "Training deep nets with sublinear memory cost").
    """

    def through(x: Tensor, skip: Tensor | None) -> Tensor:
        if skip is not None:
            x = join(x, skip)
        for layer in layers:
            x = layer(x)
        return x

    if not (gradient_checkpointing and torch.is_grad_enabled()):
        return through(x, skip)
    if torch.compiler.is_compiling():  # the compiler traces one computation, and updates no statistics twice
        compiled: Tensor = checkpoint(through, x, skip, use_reentrant=False)
        return compiled
    y: Tensor = checkpoint(through, x, skip, use_reentrant=False, context_fn=partial(_contexts, layers))
    return y


def _contexts(layers: Iterable[nn.Module]) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """What holds during the first computation, and during the second."""
    return nullcontext(), _statistics_kept(layers)


@contextmanager
def _statistics_kept(layers: Iterable[nn.Module]) -> Iterator[None]:
    """No second update of a batch norm's running statistics by the same batch."""
    norms = [m for layer in layers for m in layer.modules() if isinstance(m, nn.BatchNorm2d) and m.track_running_stats]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count


def initialize_weights(network: nn.Module, std: float = 0.02) -> None:
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
