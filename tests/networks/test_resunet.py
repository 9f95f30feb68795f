"""The residual U-Net: it starts at its curve, takes every size that its depth divides, and learns everywhere."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage.metrics import structural_similarity
from torch import Tensor

from image_translation.cli.errors import UserError
from image_translation.models import ResUNet
from image_translation.networks import ResidualUNet
from image_translation.networks.resunet import Enlarge


def network(*args: Any, **options: Any) -> ResidualUNet:
    torch.manual_seed(0)
    return ResidualUNet(*args, **({"base_channels": 8, "depth": 3} | options))


def images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def no_longer_zero(model: ResidualUNet) -> ResidualUNet:
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def test_it_starts_at_its_curve() -> None:
    model, x = network(), images(2, 3, 16, 24)
    assert torch.equal(model(x), x)
    model.curve.fit([(x, -x)])
    assert torch.equal(model(x), model.curve(x))
    assert torch.allclose(model(x), -x, atol=1e-3)


@pytest.mark.parametrize(("inputs", "outputs", "depth"), [(3, 3, 1), (1, 4, 2), (4, 1, 4)])
def test_sizes_and_channels(inputs: int, outputs: int, depth: int) -> None:
    model = network(inputs, outputs, depth=depth)
    side = model.size_divisibility
    assert side == 2**depth
    assert model(images(1, inputs, side, 3 * side)).shape == (1, outputs, side, 3 * side)


def test_it_learns_everywhere_and_checkpointing_changes_nothing() -> None:
    x, y = images(2, 3, 32, 32), images(2, 3, 32, 32).flip(0)
    gradients = []
    for checkpointing in (False, True):
        model = no_longer_zero(network(gradient_checkpointing=checkpointing))
        (model(x) - y).square().mean().backward()  # type: ignore[no-untyped-call]
        gradients.append([parameter.grad for parameter in model.parameters()])
        assert all(gradient is not None and gradient.any() for gradient in gradients[-1])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*gradients, strict=True) if a is not None)


def test_a_pixel_depends_on_far_ones_too() -> None:
    model, x = no_longer_zero(network()), images(1, 3, 64, 64).requires_grad_()
    model(x)[..., 0, 0].sum().backward()
    assert x.grad is not None
    assert x.grad[..., 40:, 40:].any()


def test_enlarged_maps_are_those_of_a_pixel_shuffle() -> None:
    layer, x = Enlarge(8, 4), images(2, 8, 3, 5)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    torch.testing.assert_close(layer(x), F.pixel_shuffle(layer.conv(x), 2))


def test_enlarged_maps_have_no_checkerboard_at_first() -> None:
    large = Enlarge(8, 4)(images(1, 8, 5, 5))
    assert torch.equal(large, large[..., ::2, ::2].repeat_interleave(2, -1).repeat_interleave(2, -2))


def test_the_loss_is_a_robust_distance_and_ssim() -> None:
    model = ResUNet(base_channels=8, depth=1, ssim_weight=0.5)
    x = images(2, 3, 32, 32)
    losses = model.losses({"input": x, "target": -x})
    d = 2 * x.double().numpy()
    assert losses["l1"].item() == pytest.approx(np.abs(d).mean())
    mine, theirs = ((a + 1) / 2 for a in (x.permute(0, 2, 3, 1).numpy(), -x.permute(0, 2, 3, 1).numpy()))
    ssim = np.mean(
        [
            structural_similarity(
                a,
                b,
                channel_axis=2,
                data_range=1,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
                full=False,
            )
            for a, b in zip(mine, theirs, strict=True)
        ]
    )
    assert losses["ssim"].item() == pytest.approx(ssim, abs=0.02)  # torchmetrics' own counts windows across the border
    distance = np.sqrt(d**2 + 0.22**2).mean()
    assert losses["loss"].item() == pytest.approx(distance + 0.5 * (1 - losses["ssim"].item()))


def test_what_it_cannot_be() -> None:
    for channels in (4, 12):
        with pytest.raises(UserError, match=r"^base_channels must be"):
            network(base_channels=channels)


@pytest.mark.parametrize(
    ("own", "trainers", "expected"), [(1.0, None, 1.0), (1.0, 0.1, 0.1), (1.0, 0.0, 50.0), (0.0, None, 50.0)]
)
def test_the_gradient_is_limited(own: float, trainers: float | None, expected: float) -> None:
    model = ResUNet(base_channels=8, depth=1, gradient_clip_val=own)
    weight = next(model.generator.parameters())
    weight.grad = torch.zeros_like(weight)
    weight.grad.view(-1)[0] = 50.0
    model.configure_gradient_clipping(torch.optim.SGD([weight], lr=1), trainers)
    assert weight.grad.norm().item() == pytest.approx(expected, rel=1e-4)
