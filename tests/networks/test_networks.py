"""Counts, shapes and layers against the design's tables, which come from the papers and the original study."""

import re

import pytest
import torch
from torch import nn

from image_translation.networks import ConvAutoencoder, PatchGANDiscriminator, UNetGenerator
from image_translation.networks.unet import enlarging_layer


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_parameter_counts(norm: str) -> None:
    assert count(UNetGenerator(norm=norm)) == 54_413_955
    assert count(PatchGANDiscriminator(norm=norm)) == 2_768_705
    assert count(ConvAutoencoder(norm=norm)) == 9_600_206


# (H = W, channels of the layer's own output, parameters with batch norm's statistics), as in docs/design.md
ENCODER = [(128, 128, 3_584), (64, 128, 147_584), (32, 256, 296_192), (16, 512, 1_182_208), (8, 512, 2_361_856)]
DECODER = [(16, 512, 2_359_808), (32, 256, 2_359_552), (64, 128, 589_952), (128, 128, 295_040), (256, 3, 6_915)]


def test_every_layer_of_the_autoencoder() -> None:
    network = ConvAutoencoder(norm="batch").eval()
    shapes: dict[nn.Module, torch.Size] = {}
    for layer in [*network.encoder, *network.decoder, network.head]:
        layer.register_forward_hook(lambda module, _, output: shapes.__setitem__(module, output.shape))
    with torch.no_grad():
        network(torch.zeros(1, 3, 256, 256))

    def row(layer: nn.Module) -> tuple[int, int, int]:
        _, channels, height, width = shapes[layer]
        assert height == width
        numbers = [*layer.parameters(), *(b for name, b in layer.named_buffers() if "running" in name)]
        return height, channels, sum(tensor.numel() for tensor in numbers)

    assert [row(layer) for layer in network.encoder] == ENCODER
    assert [row(layer) for layer in network.decoder] == DECODER
    assert row(network.head) == (256, 3, 75)


@pytest.mark.parametrize("size", [32, 64, 128, 256, 512])
def test_depth_follows_the_image_size(size: int) -> None:
    x = torch.zeros(1, 3, size, size)
    innermost: list[torch.Size] = []
    for make in (UNetGenerator, ConvAutoencoder):
        network = make(image_size=size, base_channels=2).eval()
        last = [module for module in network.encoder.modules() if isinstance(module, nn.Conv2d)][-1]
        last.register_forward_hook(lambda _m, _i, output: innermost.append(output.shape[2:]))
        with torch.no_grad():
            assert network(x).shape == x.shape
    assert innermost == [(1, 1), (8, 8)]
    assert PatchGANDiscriminator(base_channels=2)(x, x).shape == (1, 1, size // 8 - 2, size // 8 - 2)


def test_resizing_draws_no_checkerboard() -> None:
    """Transposed convolutions draw a pattern even on an image of one color."""
    for upsample, draws in (("transposed", True), ("resize", False)):
        torch.manual_seed(0)
        inside = enlarging_layer(upsample, 8, 4)(torch.ones(1, 8, 10, 10))[..., 2:-2, 2:-2]
        assert inside.shape == (1, 4, 16, 16)
        assert (inside.std((2, 3)).max().item() > 0.01) == draws
        network = UNetGenerator(image_size=32, base_channels=2, upsample=upsample)
        assert any(isinstance(module, nn.ConvTranspose2d) for module in network.modules()) == draws
        assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 3, 32, 32)


def test_the_discriminator_sees_70_by_70_pixels() -> None:
    torch.manual_seed(0)
    network = PatchGANDiscriminator(base_channels=8).eval()
    for module in network.modules():
        if isinstance(module, nn.InstanceNorm2d):
            # A norm sees the whole image; the receptive field is that of the convolutions.
            module.forward = lambda x: x  # type: ignore[method-assign]
    x = torch.rand(1, 3, 256, 256, requires_grad=True)
    logits = network(x, torch.zeros_like(x))
    assert logits.shape == (1, 1, 30, 30)
    logits[0, 0, 15, 15].backward()
    assert x.grad is not None
    rows, columns = x.grad[0].abs().sum(0).nonzero(as_tuple=True)
    assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == (70, 70)


@pytest.mark.parametrize("make", [UNetGenerator, PatchGANDiscriminator, ConvAutoencoder])
def test_initialization(make: type[nn.Module]) -> None:
    torch.manual_seed(0)
    for name, parameter in make().named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
            continue
        mean, tolerance = (0.0 if parameter.ndim == 4 else 1.0), 5 * 0.02 / parameter.numel() ** 0.5
        assert parameter.mean().item() == pytest.approx(mean, abs=tolerance), name
        assert parameter.std().item() == pytest.approx(0.02, abs=tolerance), name


@pytest.mark.parametrize("make", [UNetGenerator, ConvAutoencoder])
def test_other_sizes_are_errors(make: type[nn.Module]) -> None:
    for size in (16, 48, [64, 100]):
        with pytest.raises(ValueError, match=re.escape(f"takes others; got {size}")):
            make(image_size=size)
