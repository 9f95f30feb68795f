"""The layers against torch's own, and the networks against the textbook's."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks import textbook
from image_translation.networks import ConvAutoencoder, PatchGANDiscriminator, UNetGenerator, layers

CHANNELS_LAST = torch.channels_last


@pytest.mark.parametrize("n", [1, 3, 40])
@pytest.mark.parametrize(
    ("name", "arguments", "options", "size"),
    [
        ("Conv2d", (5, 7, 4, 2, 1), {"bias": False}, (6, 4)),
        ("Conv2d", (5, 7, 3, 2, 1), {}, (6, 4)),
        ("Conv2d", (5, 7, 4, 1, 1), {}, (6, 4)),
        ("ConvTranspose2d", (5, 7, 4, 2, 1), {"bias": False}, (3, 2)),
        ("ConvTranspose2d", (5, 7, 3, 2, 1), {"output_padding": 1}, (3, 2)),
        ("InstanceNorm2d", (5,), {}, (6, 4)),
    ],
)
def test_values_and_gradients_are_those_of_torchs_layer(
    name: str, arguments: tuple[int, ...], options: dict[str, Any], size: tuple[int, int], n: int
) -> None:
    """In float64, with random weights; 40 maps are computed in another way than one or three."""
    assert 3 * 3 * 2 <= layers.MATMUL_PIXELS < 40 * 3 * 2
    torch.manual_seed(0)
    ours = getattr(layers, name)(*arguments, **options).double()
    theirs = getattr(nn, name)(*arguments, **options | ({"affine": True} if name == "InstanceNorm2d" else {})).double()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        nn.init.normal_(mine)
        other.data.copy_(mine)
    x = (3 * torch.randn(n, 5, *size).double() + 2).contiguous(memory_format=CHANNELS_LAST).requires_grad_()
    y, expected = ours(x), theirs(x)
    assert torch.allclose(y, expected, atol=1e-12)
    weight = torch.randn_like(expected)
    wanted = [[x, *layer.parameters()] for layer in (ours, theirs)]
    gradients = [torch.autograd.grad((z * weight).sum(), some) for z, some in zip((y, expected), wanted, strict=True)]
    for got, right in zip(*gradients, strict=True):
        assert torch.allclose(got, right, atol=1e-10)


def test_statistics_are_float32_in_bfloat16() -> None:
    """Sums of 65,536 values around 3 would be far off in bfloat16, which has three digits."""
    torch.manual_seed(0)
    x = (3 + 0.1 * torch.randn(2, 4, 256, 256)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        y = layers.InstanceNorm2d(4)(x.contiguous(memory_format=CHANNELS_LAST))
    exact = x.double()
    exact = (exact - exact.mean((2, 3), keepdim=True)) / exact.std((2, 3), keepdim=True)
    assert y.dtype == torch.bfloat16
    assert (y - exact).abs().mean() < 3e-3 * exact.abs().mean()  # a bfloat16's own rounding


LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.InstanceNorm2d)
NETWORKS = [UNetGenerator, PatchGANDiscriminator, ConvAutoencoder]
TEXTBOOK = [textbook.Generator, textbook.Discriminator, textbook.Autoencoder]


@pytest.mark.parametrize(("ours", "theirs"), zip(NETWORKS, TEXTBOOK, strict=True))
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
@pytest.mark.parametrize("make", NETWORKS)
def test_every_convolution_sees_channels_last(make: Callable[..., nn.Module], n: int) -> None:
    options = {} if make is PatchGANDiscriminator else {"image_size": 64}
    network = make(base_channels=4, **options)
    seen: list[bool] = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_pre_hook(lambda _, x: seen.append(x[0].is_contiguous(memory_format=CHANNELS_LAST)))
    x = torch.rand(n, 3, 64, 64)
    network(*([x, x] if make is PatchGANDiscriminator else [x]))
    assert seen
    assert all(seen)


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("make", NETWORKS)
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
