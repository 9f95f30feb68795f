"""The layers against torch's own, and the networks against the textbook's."""

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
    gradients = [torch.autograd.grad((z * weight).sum(), [x, *layer.parameters()])
                 for z, layer in ((y, ours), (expected, theirs))]  # fmt: skip
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
NETWORKS = {"Generator": UNetGenerator, "Discriminator": PatchGANDiscriminator, "Autoencoder": ConvAutoencoder}


def small(name: str, **options: Any) -> nn.Module:
    return NETWORKS[name](**options, **({} if name == "Discriminator" else {"image_size": 128}))


def output_of(network: Any, x: Tensor) -> Tensor:
    return network(x, x.flip(-1)) if "Discriminator" in type(network).__name__ else network(x)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_equal_the_textbook_ones(name: str) -> None:
    """The same weights give the same output and the same gradients."""
    torch.manual_seed(0)
    networks = [make().eval().double() for make in (NETWORKS[name], getattr(textbook, name))]
    layers_of = [[module for module in network.modules() if isinstance(module, LAYERS)] for network in networks]
    for mine, other in zip(*layers_of, strict=True):
        mine.load_state_dict(other.state_dict())
    x = torch.rand(1, 3, 256, 256, dtype=torch.float64) * 2 - 1
    outputs = [output_of(network, x) for network in networks]
    assert torch.allclose(*outputs, atol=1e-9)
    for output in outputs:
        output.square().mean().backward()
    for mine, other in zip(*layers_of, strict=True):
        for got, right in zip(mine.parameters(recurse=False), other.parameters(recurse=False), strict=True):
            assert torch.allclose(got.grad, right.grad, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_convolution_sees_channels_last(name: str, n: int) -> None:
    network, seen = small(name, base_channels=4), list[bool]()
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_pre_hook(lambda _, x: seen.append(x[0].is_contiguous(memory_format=CHANNELS_LAST)))
    output_of(network, torch.rand(n, 3, 128, 128))
    assert seen
    assert all(seen)


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("name", NETWORKS)
def test_gradient_checkpointing_changes_only_the_memory(name: str, norm: str) -> None:
    x = torch.rand(2, 3, 128, 128)
    states, kept = [], []
    for choice in (False, True):
        torch.manual_seed(0)
        network = small(name, base_channels=8, norm=norm, gradient_checkpointing=choice)
        held = dict[int, int]()

        def hold(tensor: Tensor, held: dict[int, int] = held) -> Tensor:
            if not isinstance(tensor, nn.Parameter):
                held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
            y = output_of(network, x)
        kept.append(sum(held.values()))
        y.square().mean().backward()
        gradients = {f"gradient of {key}": parameter.grad for key, parameter in network.named_parameters()}
        states.append(network.state_dict() | gradients)
    for key, value in states[0].items():  # the running statistics and their count among them
        assert torch.equal(value, states[1][key]), key
    assert kept[1] < 0.5 * kept[0], kept
