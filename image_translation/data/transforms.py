"""What happens to a batch on the device: numbers in [-1, 1], and random crops."""

import torch
from torch import Tensor

JITTER = 286 / 256  # Isola et al. 2017, section 6.2: resize to 286, crop 256


def to_float(images: Tensor) -> Tensor:
    """uint8 in 0 … 255 → float32 in [-1, 1]."""
    return torch.div(images, 127.5).sub_(1)


def to_uint8(images: Tensor) -> Tensor:
    """Float in [-1, 1] → uint8 as in a saved file: clamped and rounded."""
    return ((images.float() + 1) * 127.5).clamp(0, 255).round().to(torch.uint8)


def random_crop(
    *halves: Tensor, size: tuple[int, int], hflip: bool = True, generator: torch.Generator | None = None
) -> list[Tensor]:
    """Crop a ``size`` (height and width) at a random place of each image, and with ``hflip`` flip half of them.

    The halves of a pair move together: uint8 (N, C, H, W) → float32 (N, C, *size) in [-1, 1]. Places and flips are
    drawn from ``generator``, on the CPU, so that nothing waits for the device.
    """
    n, channels, height, width = halves[0].shape
    tops = torch.randint(height - size[0] + 1, (n,), generator=generator).tolist()
    lefts = torch.randint(width - size[1] + 1, (n,), generator=generator).tolist()
    flips = torch.randint(2, (n,), generator=generator).tolist() if hflip else [0] * n
    results = []
    for half in halves:
        result = torch.empty((n, channels, *size), device=half.device, memory_format=torch.channels_last)
        for index, (top, left, flip) in enumerate(zip(tops, lefts, flips, strict=True)):
            crop = half[index, :, top : top + size[0], left : left + size[1]]
            torch.div(crop.flip(-1) if flip else crop, 127.5, out=result[index])
        results.append(result.sub_(1))
    return results
