"""What happens to a batch on the device: numbers in [-1, 1], and jitter."""

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resize

JITTER = 286 / 256  # Isola et al. 2017, section 6.2: resize 256 to 286, crop 256


def to_float(images: Tensor) -> Tensor:
    """uint8 in 0 … 255 → float32 in [-1, 1]."""
    return torch.div(images, 127.5).sub_(1)


def to_uint8(images: Tensor) -> Tensor:
    """Float in [-1, 1] → uint8 as in a saved file: clamped and rounded."""
    return ((images.float() + 1) * 127.5).clamp(0, 255).round().to(torch.uint8)


def jitter(
    *halves: Tensor, scale: float = JITTER, hflip: bool = True, generator: torch.Generator | None = None
) -> list[Tensor]:
    """Enlarge each image by ``scale``, crop the old size at a random place, and with ``hflip`` flip half of them.

    The halves (N, C, H, W) of a pair move together: from uint8 to float32 in [-1, 1]. Enlarged images are rounded to 8
    bits, which makes torchvision several times faster on a CPU; for that they should be channels_last. Places and
    flips are drawn from ``generator``, on the CPU, so that nothing waits for the device.
    """
    n, _, height, width = halves[0].shape
    large = [round(side * scale) for side in (height, width)]
    tops = torch.randint(large[0] - height + 1, (n,), generator=generator).tolist()
    lefts = torch.randint(large[1] - width + 1, (n,), generator=generator).tolist()
    flips = torch.randint(2, (n,), generator=generator).tolist() if hflip else [0] * n
    results = []
    for half in halves:
        enlarged = resize(half, large, InterpolationMode.BILINEAR, antialias=False)
        result = torch.empty_like(half, dtype=torch.float32, memory_format=torch.channels_last)
        for index, (top, left, flip) in enumerate(zip(tops, lefts, flips, strict=True)):
            crop = enlarged[index, :, top : top + height, left : left + width]
            torch.div(crop.flip(-1) if flip else crop, 127.5, out=result[index])
        results.append(result.sub_(1))
    return results
