"""What happens to a batch on the device: numbers in [-1, 1] and back, and random crops."""

from collections.abc import Sequence

import torch
from torch import Tensor

from image_translation.data.kinds import RGB, Kind

JITTER = 286 / 256  # Isola et al. 2017, section 6.2: resize to 286, crop 256


def to_float(images: Tensor, kind: Kind = RGB) -> Tensor:
    """Stored values (N, C, H, W) → float32 in [-1, 1]; of a mask, 1 in the channel of a pixel's class, −1 elsewhere."""
    if kind.classes:
        numbers = torch.arange(kind.classes, device=images.device)[:, None, None]
        return (images == numbers).float().mul_(2).sub_(1)
    half = kind.peak / 2
    return torch.div(_computable(images), half).sub_(kind.low / half + 1)


def to_stored(images: Tensor, kind: Kind = RGB) -> Tensor:
    """Float in [-1, 1] → what a file holds: clamped, and rounded unless it is float; of a mask the likeliest class."""
    if kind.classes:
        return images.argmax(1, keepdim=True).to(kind.torch_dtype)
    values = (images.float() + 1) * (kind.peak / 2)
    values = (values + kind.low if kind.low else values).clamp(kind.low, kind.high)
    return values if kind.torch_dtype.is_floating_point else values.round().to(kind.torch_dtype)


def from_float(images: Tensor, kind: Kind = RGB) -> Tensor:
    """What ``to_float`` had. Unlike outputs, the pixels of a mask may be of no class."""
    stored = to_stored(images, kind)
    return stored if kind.ignore is None else stored.masked_fill(~has_class(images), kind.ignore)


def has_class(images: Tensor) -> Tensor:
    """Which pixels (N, 1, H, W) of masks (N, classes, H, W), as ``to_float`` makes them, are of a class."""
    return images.amax(1, keepdim=True) > 0


def random_crop(
    *halves: Tensor,
    size: tuple[int, int],
    hflip: bool = True,
    generator: torch.Generator | None = None,
    kinds: Sequence[Kind] = (RGB, RGB),
) -> list[Tensor]:
    """Crop a ``size`` (height and width) at a random place of each image, and with ``hflip`` flip half of them.

    The halves of a pair move together: stored values (N, C, H, W) → float32 (N, C', *size) in [-1, 1]. Places and flips
    are drawn from ``generator``, on the CPU, so that nothing waits for the device.
    """
    n, _, height, width = halves[0].shape
    tops = torch.randint(height - size[0] + 1, (n,), generator=generator).tolist()
    lefts = torch.randint(width - size[1] + 1, (n,), generator=generator).tolist()
    flips = torch.randint(2, (n,), generator=generator).tolist() if hflip else [0] * n
    results = []
    for half, kind in zip(halves, kinds, strict=False):
        shape = n, kind.channels, *size
        result = torch.empty(shape, device=half.device, memory_format=torch.channels_last)
        peak = kind.peak / 2
        for index, (top, left, flip) in enumerate(zip(tops, lefts, flips, strict=True)):
            crop = half[index, :, top : top + size[0], left : left + size[1]]
            crop = crop.flip(-1) if flip else crop
            if kind.classes:
                result[index] = to_float(crop[None], kind)[0]
            else:
                torch.div(_computable(crop), peak, out=result[index])
        results.append(result if kind.classes else result.sub_(kind.low / peak + 1))
    return results


def _computable(images: Tensor) -> Tensor:
    """torch has hardly any operations for uint16."""
    return images.float() if images.dtype == torch.uint16 else images
