"""The reconstruction losses of the residual U-Net, computed in float32 whatever the precision of the networks."""

import torch
import torch.nn.functional as F
from torch import Tensor

from image_translation.metrics.functional import ssim_windows
from image_translation.metrics.gaussian import gaussian_blur
from image_translation.metrics.names import SSIM_WINDOW

EPSILON = 0.22  # for values in [-1, 1]
FLOOR, GIVEN = 0.02, 0.05  # likewise, of contrasts: too low to count, and of an input that half counts


def charbonnier_ssim(output: Tensor, target: Tensor, ssim_weight: float) -> tuple[Tensor, Tensor]:
    """A robust distance plus ``ssim_weight`` · (1 − SSIM), and the SSIM, of images (N, C, H, W) in [-1, 1].

    The distance of a value is √(d² + ε²) (Charbonnier et al. 1994), with ε 28 of 255 steps. Where a target can only be
    guessed, as colors can, the mean of the guesses has the best PSNR, and errors below ε count as squares, which learns
    it; larger ones don't outweigh the rest. docs/models.md compares it with others.
    """
    distance = ((output.float() - target).square() + EPSILON**2).sqrt().mean()
    with torch.autocast(output.device.type, enabled=False):
        images = (output.float().clamp(-1, 1) + 1) / 2, (target + 1) / 2
        ssim = ssim_windows(*(F.pad(half, (SSIM_WINDOW // 2,) * 4, mode="reflect") for half in images)).mean()
    return distance + ssim_weight * (1 - ssim), ssim.detach()


def texture_distance(source: Tensor, output: Tensor, target: Tensor) -> Tensor:
    """How far the contrast of fine details is from the target's: images (N, C, H, W) in [-1, 1].

    Details are what lies between Gaussian blurs with σ 0.7 and 1.5 pixels, so that a grid of single pixels is none;
    their contrast is their root mean square in a Gaussian window with σ 2. The distance is the mean absolute difference
    of its logarithms, weighted by the contrast of the ``source``, the input: without anything to draw from, a network
    would fill flat areas with a pattern.
    """
    own, right, given = (contrast(images.float()) for images in (output, target, source))
    if given.shape[1] != own.shape[1]:  # of all channels together
        given = given.mean(dim=1, keepdim=True)
    distance = ((own + FLOOR).log() - (right + FLOOR).log()).abs()
    return (distance * given / (given + GIVEN)).mean()


def contrast(images: Tensor) -> Tensor:
    details = gaussian_blur(images, 5, 0.7) - gaussian_blur(images, 9, 1.5)
    return (gaussian_blur(details.square(), 13, 2.0) + 1e-6).sqrt()
