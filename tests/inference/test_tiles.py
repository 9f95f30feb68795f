"""Large images in tiles."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import image
from torch import Tensor, nn

from image_translation.data.transforms import to_float
from image_translation.inference.tiles import blend_tiles, tile_places
from image_translation.models import Identity, ImageTranslationModule, ResUNet


@pytest.mark.parametrize(("height", "width", "tile"), [(64, 64, 64), (65, 64, 64), (300, 70, 64), (40, 500, 64)])
def test_tiles_cover_the_image_and_overlap(height: int, width: int, tile: int) -> None:
    places = tile_places(height, width, tile)
    covered = np.zeros((height, width), int)
    for rows, columns in places:
        covered[rows, columns] += 1
        assert (rows.stop - rows.start, columns.stop - columns.start) == (min(tile, height), min(tile, width))
    assert covered.min() == 1
    for axis in (0, 1):
        starts = sorted({place[axis].start for place in places})
        assert all(b - a <= tile - tile // 4 for a, b in pairwise(starts))


def test_blending_is_the_weighted_mean_of_the_tiles() -> None:
    """Against sums over the whole image, in float64."""
    source = torch.rand(3, 150, 200) * 1.6 - 0.8
    places = tile_places(150, 200, 64)
    shades = [torch.rand(3, 1, 1) * 0.2 for _ in places]  # each tile comes out in another color
    given = iter(shades)
    blended = blend_tiles(source, places, lambda tile: tile + next(given))
    total, weights = torch.zeros(3, 150, 200, dtype=torch.float64), torch.zeros(150, 200, dtype=torch.float64)
    hann = (1 - torch.cos(2 * np.pi * (torch.arange(64, dtype=torch.float64) + 0.5) / 64)) / 2
    for (rows, columns), shade in zip(places, shades, strict=True):
        total[:, rows, columns] += (source[:, rows, columns] + shade) * hann[:, None] * hann
        weights[rows, columns] += hann[:, None] * hann
    expected = ((total / weights + 1) * 127.5).clamp(0, 255).round()
    assert (blended - expected).abs().max() <= 1


def test_identity_in_tiles_is_the_image() -> None:
    source = np.asarray(image(1, (201, 150)))
    assert np.array_equal(Identity().predict(source, tile=64), source)


def residual_unet() -> ImageTranslationModule:
    model = ResUNet(base_channels=8, depth=2)
    for name, parameter in model.named_parameters():  # the last layers are zero before training
        if parameter.ndim == 4:
            nn.init.normal_(parameter, 0, 0.05 if "head" in name else 0.1)
    return model


def own_network() -> ImageTranslationModule:
    """As a user may write it: torch's instance norm has no scale and shift by default."""
    model = Identity()
    model.generator = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.InstanceNorm2d(8), nn.Conv2d(8, 3, 1))
    return model


@pytest.mark.parametrize("make", [residual_unet, own_network])
def test_tiles_are_normalized_as_the_whole_image(make: Callable[[], ImageTranslationModule]) -> None:
    torch.manual_seed(0)
    model, source = make(), np.asarray(image(2, (320, 256)))
    whole = model.predict(source, tile=0).astype(int)
    assert np.abs(whole - source).mean() > 5  # the network does something
    in_tiles = np.abs(model.predict(source, tile=128) - whole).mean()

    def alone(tile: Tensor) -> Tensor:
        output = model.predict(tile.permute(1, 2, 0).numpy(), tile=0)
        return to_float(torch.tensor(output).permute(2, 0, 1))

    blended = blend_tiles(torch.tensor(source).permute(2, 0, 1), tile_places(256, 320, 128), alone)
    by_own_statistics = np.abs(blended.permute(1, 2, 0).numpy() - whole).mean()
    assert in_tiles < by_own_statistics / 2
