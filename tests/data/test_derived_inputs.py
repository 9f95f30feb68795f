"""Inputs that are computed from the image."""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import SIZE
from hydra import compose, initialize_config_dir
from PIL import Image
from skimage import feature
from torch import Tensor

from image_translation.cli.app import CONF, instantiate
from image_translation.data.derived_inputs import center_mask, describe, edges, find, gray, lowres
from image_translation.data.transforms import to_float, to_stored


@pytest.fixture
def images() -> Tensor:
    """(5, 3, S, S): a dark disc on a light ground, and smooth noise."""
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    disc = torch.where((y - 30) ** 2 + (x - 32) ** 2 < 18**2, -0.8, 0.7).expand(1, 3, -1, -1)
    noise = torch.rand(4, 3, 4, 4, generator=torch.manual_seed(0)) * 2 - 1
    return torch.cat([disc, F.interpolate(noise, (SIZE, SIZE), mode="bicubic").clamp(-1, 1)])


@pytest.mark.parametrize("derive", [gray, edges, lowres, center_mask])
def test_every_image_by_itself_and_always_the_same(derive: Callable[[Tensor], Tensor], images: Tensor) -> None:
    images = images[1:]  # a disc has contours as strong as their neighbors, where rounding decides
    before, derived = images.clone(), derive(images)
    assert derived.shape == images.shape
    assert derived.dtype == torch.float32
    assert -1 <= derived.min() <= derived.max() <= 1
    assert torch.equal(images, before)
    assert torch.allclose(torch.cat([derive(image) for image in images.split(1)]), derived, atol=1e-6)


def test_edges_are_where_scikit_image_has_them(images: Tensor) -> None:
    contours = edges(images[:1])[0]
    assert torch.equal(contours[0], contours[1])
    ours = contours[0].numpy() < 0.5
    gray = ((images[0, 0] + 1) / 2).numpy()
    theirs = feature.canny(gray, sigma=2 * SIZE / 256, low_threshold=0.05, high_threshold=0.1)
    # Every contour pixel of one lies on or beside one of the other.
    for a, b in ((ours, theirs), (theirs, ours)):
        near = np.lib.stride_tricks.sliding_window_view(np.pad(b, 1), (3, 3)).any(axis=(2, 3))
        assert a.sum() > 80
        assert near[a].all()


def test_lowres_is_pillows_way_down_and_up(images: Tensor) -> None:
    for image, derived in zip(images, to_stored(lowres(images)), strict=True):
        image = Image.fromarray(to_stored(image).permute(1, 2, 0).numpy())
        expected = image.resize((SIZE // 4,) * 2, Image.Resampling.BICUBIC).resize(
            (SIZE,) * 2, Image.Resampling.BICUBIC
        )
        difference = np.abs(derived.permute(1, 2, 0).numpy().astype(int) - np.asarray(expected))
        assert difference.mean() < 2


def test_the_mask_is_gray_and_the_rest_stays(images: Tensor) -> None:
    inside = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    inside[SIZE // 4 : -SIZE // 4, SIZE // 4 : -SIZE // 4] = True
    derived = center_mask(images)
    assert (derived[:, :, inside] == 0).all()
    assert torch.equal(derived[:, :, ~inside], images[:, :, ~inside])


def test_gray_is_the_luma_of_pillow(images: Tensor) -> None:
    for image, derived in zip(images, to_stored(gray(images)), strict=True):
        luma = np.asarray(Image.fromarray(to_stored(image).permute(1, 2, 0).numpy()).convert("L"))
        assert np.abs(derived.numpy().astype(int) - luma).max() <= 1


def test_a_checkpoint_names_only_functions_of_this_project(images: Tensor) -> None:
    ours = find(describe(functools.partial(lowres, factor=2)))
    assert torch.equal(ours(images), lowres(images, 2))
    assert find(describe(torch.neg)) is None
    assert describe(None) is None


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
@pytest.mark.parametrize("task", ["coloring", "sketch", "superres", "inpaint"])
def test_tasks_are_one_yaml(task: str, direction: str, comic_root: Path) -> None:
    options = [f"task={task}", f"data.root={comic_root}", "data.target_folder=face", f"data.direction={direction}"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        data = instantiate(compose("train", [*options, f"data.image_size={SIZE}"]).data, "data")
    data.setup()
    assert data.datasets["train"].nbytes == 6 * 3 * SIZE**2  # of one half
    batch = next(data.plain_batches("train", torch.device("cpu")))
    photo, derived = ("target", "input") if direction == "AtoB" else ("input", "target")
    for name, image in zip(batch["name"], batch[photo], strict=True):
        file = Image.open(comic_root / "train" / "face" / f"{name}.png")
        assert np.array_equal(to_stored(image).permute(1, 2, 0).numpy(), np.asarray(file))
    assert torch.equal(to_stored(batch[derived]), to_stored(data.derive(batch[photo])))
    assert torch.equal(batch[derived], to_float(to_stored(batch[derived])))  # what a file can hold
    assert not torch.equal(batch[derived], batch[photo])
