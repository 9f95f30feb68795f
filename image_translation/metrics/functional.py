"""MSE, PSNR and SSIM of single images, as scikit-image computes them, and the original study's SSIM."""

import torch
import torch.nn.functional as F
from torch import Tensor

PEAK = 255.0
PERFECT_PSNR = 100.0  # what an identical image counts as, in dB


def mse(output: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each image in 8-bit units, 0 … 65025. (N, C, H, W) in 0 … 255 → (N,)."""
    return (output - target).square().mean(dim=(1, 2, 3))


def psnr(error: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, 10·log10(255²/mse); 100 where the images are identical. MSE (N,) → (N,)."""
    return torch.where(error == 0, PERFECT_PSNR, 10 * torch.log10(PEAK**2 / error))


def ssim(output: Tensor, target: Tensor) -> Tensor:
    """Structural similarity of each image (Wang et al. 2004). (N, C, H, W) in 0 … 255 → (N,).

    11×11 Gaussian window, σ 1.5, K1 0.01, K2 0.03, mean of the channels; only windows inside the image count. As
    scikit-image has it with ``gaussian_weights=True, sigma=1.5, use_sample_covariance=False``. (The function of
    torchmetrics counts windows over the border too, and takes some 20 times as long in double precision.)
    """
    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    rows, columns = _gaussian_windows(output.shape[2], output), _gaussian_windows(output.shape[3], output)
    mx, my, mxx, myy, mxy = (
        rows @ moment @ columns.T for moment in (output, target, output**2, target**2, output * target)
    )
    vx, vy, covariance = mxx - mx**2, myy - my**2, mxy - mx * my
    index = (2 * mx * my + c1) * (2 * covariance + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return index.mean(dim=(1, 2, 3))


def _gaussian_windows(size: int, like: Tensor, sigma: float = 1.5, width: int = 11) -> Tensor:
    """The matrix (size − width + 1, size) that takes the Gaussian mean of every window of a line of pixels."""
    window = torch.exp(-((torch.arange(width).to(like) - width // 2) ** 2) / (2 * sigma**2))
    windows = F.pad(window / window.sum(), (0, size - width)).repeat(size - width + 1, 1)
    offsets = torch.arange(size - width + 1, device=like.device)[:, None]
    return windows.gather(1, (torch.arange(size, device=like.device) - offsets) % size)


def report_ssim(output: Tensor, target: Tensor) -> Tensor:
    """What the original study printed as SSIM. (N, C, H, W) in 0 … 255 → (N,).

    One mean and one standard deviation of each whole image on [0, 1], and no covariance: a shuffled image scores as
    well as the image itself.
    """
    c1, c2 = (0.01 * 7) ** 2, (0.03 * 7) ** 2
    (mx, sx), (my, sy) = (
        (p.mean(dim=(1, 2, 3)), p.std(dim=(1, 2, 3), correction=0)) for p in (output / PEAK, target / PEAK)
    )
    return (2 * mx * my + c1) * (2 * sx * sy + c2) / ((mx**2 + my**2 + c1) * (sx**2 + sy**2 + c2))
