"""The reconstruction loss of the residual U-Net, computed in float32 whatever the precision of the networks."""

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

EPSILON = 0.22  # for values in [-1, 1]


def charbonnier_ssim(output: Tensor, target: Tensor, ssim_weight: float) -> tuple[Tensor, Tensor]:
    """A robust distance plus ``ssim_weight`` · (1 − SSIM), and the SSIM, of images (N, C, H, W) in [-1, 1].

    The distance of a value is √(d² + ε²) (Charbonnier et al. 1994), with ε 28 of 255 steps. Where a target can only be
    guessed, as colors can, the mean of the guesses has the best PSNR, and errors below ε count as squares, which learns
    it; larger ones don't outweigh the rest. docs/models.md compares it with others.
    """
    distance = ((output.float() - target).square() + EPSILON**2).sqrt().mean()
    with torch.autocast(output.device.type, enabled=False):
        pair = (output.float().clamp(-1, 1) + 1) / 2, (target + 1) / 2
        ssim = structural_similarity_index_measure(*pair, data_range=1.0)
    assert isinstance(ssim, Tensor)
    return distance + ssim_weight * (1 - ssim), ssim.detach()
