"""The layers against torch's own, and the networks against the textbook's."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import textbook
from image_translation.networks import ConvAutoencoder, PatchGANDiscriminator, UNetGenerator
from image_translation.networks.layers import MATMUL_PIXELS, Conv2d, ConvTranspose2d, InstanceNorm2d

CHANNELS_LAST = torch.channels_last


def same_values_and_gradients(ours: nn.Module, reference: Callable[..., Tensor], x: Tensor) -> None:
    """``reference(x, *parameters)`` in float64 against ``ours(x)``, and the gradients of a random projection."""
    ours.double()
    x = x.double().contiguous(memory_format=CHANNELS_LAST).requires_grad_()
    wanted = [x, *ours.parameters()]
    y, expected = ours(x), reference(x, *ours.parameters())
    assert torch.allclose(y, expected, atol=1e-12)
    weight = torch.randn_like(expected)
    gradients = [torch.autograd.grad((output * weight).sum(), wanted) for output in (y, expected)]
    for got, right in zip(*gradients, strict=True):
        assert torch.allclose(got, right, atol=1e-10)


@pytest.mark.parametrize("n", [1, 3, 40])
@pytest.mark.parametrize(("kernel", "stride", "padding", "bias"), [(4, 2, 1, False), (3, 2, 1, True), (4, 1, 1, True)])
def test_convolution(n: int, kernel: int, stride: int, padding: int, bias: bool) -> None:
    torch.manual_seed(0)
    layer = Conv2d(5, 7, kernel, stride, padding, bias=bias)
    x = torch.randn(n, 5, 6, 4)

    def reference(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.conv2d(x, weight, bias, stride, padding)

    same_values_and_gradients(layer, reference, x)


@pytest.mark.parametrize("n", [1, 3, 40])
@pytest.mark.parametrize(("kernel", "more", "bias"), [(4, 0, False), (3, 1, True)])
def test_transposed_convolution(n: int, kernel: int, more: int, bias: bool) -> None:
    torch.manual_seed(0)
    layer = ConvTranspose2d(5, 7, kernel, 2, padding=1, output_padding=more, bias=bias)

    def reference(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.conv_transpose2d(x, weight, bias, 2, 1, more)

    same_values_and_gradients(layer, reference, torch.randn(n, 5, 3, 2))


def test_both_ways_of_a_convolution_were_tested() -> None:
    assert 1 * 3 * 2 <= MATMUL_PIXELS < 40 * 3 * 2  # the outputs above, and the inputs of the transposed ones


@pytest.mark.parametrize("n", [1, 3])
def test_instance_norm(n: int) -> None:
    torch.manual_seed(0)
    layer = InstanceNorm2d(5)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)

    def reference(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
        return (x - mean) / (variance + 1e-5).sqrt() * weight[:, None, None] + bias[:, None, None]

    same_values_and_gradients(layer, reference, 3 * torch.randn(n, 5, 6, 4) + 2)


def test_statistics_are_float32_in_bfloat16() -> None:
    """Sums of 65,536 values around 3 would be far off in bfloat16, which has three digits."""
    torch.manual_seed(0)
    x = (3 + 0.1 * torch.randn(2, 4, 256, 256)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        y = InstanceNorm2d(4)(x.contiguous(memory_format=CHANNELS_LAST))
    exact = x.double()
    exact = (exact - exact.mean((2, 3), keepdim=True)) / exact.std((2, 3), keepdim=True)
    assert y.dtype == torch.bfloat16
    assert (y - exact).abs().mean() < 3e-3 * exact.abs().mean()  # a bfloat16's own rounding


LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.InstanceNorm2d)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (UNetGenerator, textbook.Generator),
        (PatchGANDiscriminator, textbook.Discriminator),
        (ConvAutoencoder, textbook.Autoencoder),
    ],
)
def test_networks_equal_the_textbook_ones(ours: Callable[[], nn.Module], theirs: Callable[[], nn.Module]) -> None:
    """The same weights give the same output and the same gradients."""
    torch.manual_seed(0)
    network, reference = ours().eval().double(), theirs().eval().double()
    pairs = zip(*([m for m in net.modules() if isinstance(m, LAYERS)] for net in (network, reference)), strict=True)
    for mine, other in pairs:
        mine.load_state_dict(other.state_dict())
    inputs = torch.rand(2 if ours is PatchGANDiscriminator else 1, 1, 3, 256, 256, dtype=torch.float64) * 2 - 1
    outputs = [net(*inputs) for net in (network, reference)]
    assert torch.allclose(*outputs, atol=1e-9)
    gradients = []
    for net, output in zip((network, reference), outputs, strict=True):
        output.square().mean().backward()
        gradients.append([p.grad for m in net.modules() if isinstance(m, LAYERS) for p in m.parameters(recurse=False)])
    for got, right in zip(*gradients, strict=True):
        assert torch.allclose(got, right, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("make", [UNetGenerator, PatchGANDiscriminator, ConvAutoencoder])
def test_every_convolution_sees_channels_last(make: Callable[..., nn.Module], n: int) -> None:
    options = {} if make is PatchGANDiscriminator else {"image_size": 64}
    network = make(base_channels=4, **options)
    seen: list[bool] = []

    def look(_: nn.Module, inputs: tuple[Tensor]) -> None:
        seen.append(inputs[0].is_contiguous(memory_format=CHANNELS_LAST))

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_pre_hook(look)
    x = torch.rand(n, 3, 64, 64)
    network(*([x, x] if make is PatchGANDiscriminator else [x]))
    assert seen
    assert all(seen)


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("make", [UNetGenerator, PatchGANDiscriminator, ConvAutoencoder])
def test_gradient_checkpointing_changes_only_the_memory(make: Callable[..., nn.Module], norm: str) -> None:
    options: dict[str, Any] = {"base_channels": 8, "norm": norm}
    if make is not PatchGANDiscriminator:
        options["image_size"] = 128
    x = torch.rand(2, 3, 128, 128)
    states, gradients, kept = [], [], []
    for gradient_checkpointing in (False, True):
        torch.manual_seed(0)
        network = make(gradient_checkpointing=gradient_checkpointing, **options)
        held = {}

        def hold(tensor: Tensor, held: dict[int, int] = held) -> Tensor:
            if not isinstance(tensor, nn.Parameter):
                held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
            y = network(*([x, x] if make is PatchGANDiscriminator else [x]))
        kept.append(sum(held.values()))
        y.square().mean().backward()
        states.append(network.state_dict())
        gradients.append([p.grad for p in network.parameters()])
    for name, value in states[0].items():  # the running statistics and their count among them
        assert torch.equal(value, states[1][name]), name
    for got, right in zip(*gradients, strict=True):
        assert torch.equal(got, right)
    assert kept[1] < 0.5 * kept[0], kept
