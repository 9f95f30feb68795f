"""Augmentation of what a discriminator sees, so that it does not memorize few images."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

MOST_SHIFTED, CUT = 8, 2  # a shift by up to 1/8 of the side; a hole of half the side


def diff_augment(images: Sequence[Tensor]) -> list[Tensor]:
    """Change colors, shift, and cut a hole, differentiably (Zhao et al. 2020).

    ``images`` are (N, C, H, W) in [-1, 1]: an input, its target, and the target's fake. Each of the N is changed by
    random numbers of its own, which all ``images`` share.
    """
    n, _, height, width = images[0].shape

    def draw(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, 1, 1, 1, device=images[0].device)

    brightness, saturation, contrast = draw(-0.5, 0.5), draw(0, 2), draw(0.5, 1.5)
    rows, columns = (torch.arange(side, device=images[0].device).float() for side in (height, width))
    middle = draw(0, height), draw(0, width)
    inside = (rows[:, None] - middle[0]).abs() < height / CUT / 2, (columns - middle[1]).abs() < width / CUT / 2
    kept = (~(inside[0] & inside[1])).float()
    shift = torch.cat([draw(-2 / MOST_SHIFTED, 2 / MOST_SHIFTED).flatten(1) for _ in range(2)], dim=1)
    transform = torch.eye(2, 3, device=shift.device).repeat(n, 1, 1)
    transform[:, :, 2] = shift
    grid = F.affine_grid(transform, [n, 1, height, width], align_corners=False)

    def change(x: Tensor) -> Tensor:
        x = x.float() + brightness
        gray = x.mean(dim=1, keepdim=True)
        x = gray + (x - gray) * saturation
        mean = x.mean(dim=(1, 2, 3), keepdim=True)
        x = mean + (x - mean) * contrast
        return F.grid_sample(x, grid, mode="nearest", align_corners=False) * kept

    return [change(x) for x in images]
