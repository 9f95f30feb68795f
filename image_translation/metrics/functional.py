"""MSE, PSNR and SSIM of each image, equal to scikit-image's, the original study's SSIM, and metrics of masks.

All take output and target, (N, C, H, W) in 0 … ``peak``, as float64 where the device has it, and return (N,).
"""

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_jaccard_index
from torchmetrics.functional.image import peak_signal_noise_ratio

from image_translation.metrics.gaussian import blur_inside
from image_translation.metrics.names import SSIM_WINDOW

PEAK = 255.0
IDENTICAL_PSNR = 100.0  # dB, for identical images, whose PSNR is infinite
SIGMA = 1.5  # of the Gaussian windows of SSIM


def mse(output: Tensor, target: Tensor) -> Tensor:
    """Mean squared error in the images' own units, of 8 bits 0 … 65025. (torchmetrics has that of a batch.)"""
    return (output - target).square().mean(dim=(1, 2, 3))


def psnr(output: Tensor, target: Tensor, peak: float = PEAK) -> Tensor:
    """Peak signal-to-noise ratio in dB, 10·log10(peak² / mse); 100 for identical images."""
    values = peak_signal_noise_ratio(output, target, data_range=peak, reduction="none", dim=(1, 2, 3))
    return values.masked_fill(values.isinf(), IDENTICAL_PSNR)


def ssim(output: Tensor, target: Tensor, peak: float = PEAK) -> Tensor:
    """Structural similarity (Wang et al. 2004), -1 … 1: Gaussian windows of 11×11 pixels with σ 1.5, K1 0.01, K2 0.03.

    The mean over all channels and all windows inside the image, as in scikit-image with ``gaussian_weights=True,
    sigma=1.5, use_sample_covariance=False``. In float32 the two differ by up to 3e-5 on photos and 6e-4 on images that
    are nearly white.
    """
    # On a CPU, convolutions take 20 times as long in float64; on a GPU, float32 ones may be rounded to TF32.
    dtype = torch.float64 if output.is_cuda else torch.float32
    return ssim_windows(output.to(dtype) / peak, target.to(dtype) / peak).mean(dim=(1, 2, 3))


def ssim_windows(output: Tensor, target: Tensor) -> Tensor:
    """The SSIM of each window inside of images (N, C, H, W) in [0, 1]: (N, C, H − 10, W − 10)."""
    c1, c2 = 0.01**2, 0.03**2
    moments = output, target, output * target, output.square() + target.square()
    mean, wanted, covariance, variances = (blur_inside(images, SSIM_WINDOW, SIGMA) for images in moments)
    product, squares = mean * wanted, mean.square() + wanted.square()
    covariance, variances = covariance - product, variances - squares
    return (2 * product + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))


def report_ssim(output: Tensor, target: Tensor, peak: float = PEAK) -> Tensor:
    """What the original study reported as SSIM: of whole images on [0, 1], without the covariance.

    It compares their means and standard deviations only: an image with its pixels shuffled gets the full score.
    """
    c1, c2 = (0.01 * 7) ** 2, (0.03 * 7) ** 2
    mx, my = (image.mean(dim=(1, 2, 3)) for image in (output / peak, target / peak))
    sx, sy = (image.std(dim=(1, 2, 3), correction=0) for image in (output / peak, target / peak))
    return (2 * mx * my + c1) * (2 * sx * sy + c2) / ((mx**2 + my**2 + c1) * (sx**2 + sy**2 + c2))


def accuracy(output: Tensor, target: Tensor, classes: int) -> Tensor:
    """The part of the pixels of masks (N, 1, H, W) whose class is right, 0 … 1, of those whose target is of a class.

    Of an image without any, 1.
    """
    labeled = target < classes
    wrong = (labeled & (output != target)).sum(dim=(1, 2, 3))
    return 1 - wrong.to(output.dtype) / labeled.sum(dim=(1, 2, 3)).clamp(min=1)


def miou(output: Tensor, target: Tensor, classes: int) -> Tensor:
    """Mean intersection over union, 0 … 1, over the classes that an image's output or target has, likewise."""
    values = []
    for one, other in zip(output.long(), target.long(), strict=True):
        labeled = other < classes
        score = multiclass_jaccard_index(one[labeled], other[labeled], num_classes=classes, average="macro")
        values.append(torch.where(labeled.any(), score, 1.0))
    return torch.stack(values)
