"""What happens to a batch on the device: numbers in [-1, 1], and jitter."""

import torch
import torch.nn.functional as F
from torch import Tensor

JITTER = 286 / 256  # Isola et al. 2017, section 6.2: resize 256 to 286, crop 256


def to_float(pictures: Tensor) -> Tensor:
    """uint8 in 0 … 255 → float32 in [-1, 1]."""
    return pictures.float() / 127.5 - 1


def to_uint8(pictures: Tensor) -> Tensor:
    """Float in [-1, 1] → uint8 as it stands in a saved file: clamped and rounded."""
    return ((pictures.float() + 1) * 127.5).clamp(0, 255).round().to(torch.uint8)


def jitter(pictures: Tensor, scale: float = JITTER, mirror: bool = True) -> Tensor:
    """Enlarge each picture of a batch by ``scale``, crop the old size at a random place, mirror every second one.

    One bilinear sampling does all three. Halves of a pair that stand in one tensor's channels move together.

    Args:
        pictures: (N, C, H, W), float.
        scale: how much larger the picture is before the crop; 1 for no enlarging.
        mirror: whether to flip pictures left to right with probability one half.
    """
    n, _, height, width = pictures.shape
    device = pictures.device
    enlarged = [round(side * scale) for side in (width, height)]
    # A whole number of pixels, as a crop of a really enlarged picture would have.
    offsets = [torch.randint(side - old + 1, (n,), device=device)
               for side, old in zip(enlarged, (width, height), strict=True)]  # fmt: skip
    flips = torch.randint(2, (n,), device=device) * 2 - 1 if mirror else torch.ones(n, device=device)
    theta = pictures.new_zeros(n, 2, 3)
    for axis, (side, old, offset) in enumerate(zip(enlarged, (width, height), offsets, strict=True)):
        theta[:, axis, axis] = old / side
        theta[:, axis, 2] = (2 * offset + old) / side - 1  # the crop's centre, where the picture spans [-1, 1]
    theta[:, 0, 0] *= flips
    grid = F.affine_grid(theta, [n, 1, height, width], align_corners=False)
    return F.grid_sample(pictures, grid, mode="bilinear", padding_mode="border", align_corners=False)
