"""How sharp outputs are: what PSNR, which a blur can raise, does not show."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from image_translation.metrics.gaussian import gaussian_blur

ROUNDING = 1 / (12 * 255**2)  # the variance of rounding to 8 bits, so that flat images have a sharpness of 1


class Sharpness(Metric):
    """The energy of the outputs' fine details in parts of the targets', mean over the images.

    1 is right, below it outputs are blurred, above it they have noise or a pattern that targets lack. Fine details are
    what a Gaussian blur with σ = 1 pixel takes away.
    """

    full_state_update = False
    ratios: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("ratios", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, output: Tensor, target: Tensor) -> None:
        """Add a batch of images (N, C, H, W) in [0, 1]."""
        self.ratios += ((details(output) + ROUNDING) / (details(target) + ROUNDING)).sum()
        self.count += len(output)

    def compute(self) -> Tensor:
        return self.ratios / self.count


def details(images: Tensor) -> Tensor:
    """The mean square (N,) of what a blur takes away from images (N, C, H, W)."""
    return (images - gaussian_blur(images, 7, 1.0)).square().mean(dim=(1, 2, 3))
