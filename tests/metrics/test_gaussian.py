"""Blurs in two passes, against torchvision's in one, and SSIM against torchmetrics'."""

import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure
from torchvision.transforms.v2.functional import gaussian_blur as by_torchvision

from image_translation.losses.reconstruction import charbonnier_ssim
from image_translation.metrics.gaussian import gaussian_blur


@pytest.mark.parametrize(("size", "sigma"), [(5, 0.7), (7, 1.0), (9, 1.5), (13, 2.0)])
def test_blurs_are_those_of_torchvision(size: int, sigma: float) -> None:
    images = torch.rand(2, 3, 20, 31, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(gaussian_blur(images, size, sigma), by_torchvision(images, [size] * 2, [sigma] * 2))


def test_the_loss_has_the_ssim_of_torchmetrics_and_its_gradient() -> None:
    output, target = torch.rand(2, 2, 3, 24, 17, generator=torch.Generator().manual_seed(0)) * 2 - 1
    output.requires_grad_()
    loss, ssim = charbonnier_ssim(output, target, ssim_weight=1000.0)
    (gradient,) = torch.autograd.grad(loss, output)
    expected = structural_similarity_index_measure((output + 1) / 2, (target + 1) / 2, data_range=1.0)
    assert isinstance(expected, torch.Tensor)
    torch.testing.assert_close(ssim, expected.detach(), rtol=0, atol=2e-6)
    (wanted,) = torch.autograd.grad(charbonnier_ssim(output, target, 0.0)[0] - 1000 * expected, output)
    torch.testing.assert_close(gradient, wanted, rtol=1e-3, atol=1e-5)
