"""JPEGs that are much larger than the training size are scaled by their decoder, for training only."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import REAL_DATA, image
from helpers.training import make_data
from PIL import Image, ImageOps

from image_translation.data.images import read_image


@pytest.fixture
def large_root(tmp_path: Path) -> Path:
    for split in ("train", "val", "test"):
        for side, seed in (("face", 1), ("comics", 2)):
            (tmp_path / split / side).mkdir(parents=True)
            image(seed, (640, 512)).save(tmp_path / split / side / "1.jpg", quality=95)
    return tmp_path


def test_training_images_are_nearly_the_same_and_others_exactly(large_root: Path) -> None:
    data = make_data(large_root, jitter=False)
    data.setup()
    quick, exact = data.training[0], data.datasets["train"][0]

    for half in ("input", "target"):
        error = (quick[half].float() - exact[half].float()).square().mean()
        assert 0 < error < 10  # above 38 dB
        assert quick[half].shape == exact[half].shape == (3, 64, 64)
        content = (large_root / "train" / {"input": "face", "target": "comics"}[half] / "1.jpg").read_bytes()
        from_full = ImageOps.fit(read_image(content, "1.jpg", None), (64, 64), Image.Resampling.BICUBIC)
        assert torch.equal(exact[half], torch.from_numpy(np.array(from_full)).permute(2, 0, 1))


@pytest.mark.parametrize(("least", "size"), [(None, (640, 512)), (300, (640, 512)), (256, (320, 256)), (60, (80, 64))])
def test_no_side_becomes_smaller_than_needed(large_root: Path, least: int | None, size: tuple[int, int]) -> None:
    content = (large_root / "train" / "face" / "1.jpg").read_bytes()

    assert read_image(content, "1.jpg", "white", least=least).size == size


@pytest.mark.realdata
def test_photos_lose_little(tmp_path: Path) -> None:
    files = sorted((REAL_DATA / "coloring").rglob("*.jpg"))[:5]
    for split in ("train", "val", "test"):
        folder = tmp_path / split / "comics"
        folder.mkdir(parents=True)
        for number, file in enumerate(files):
            Image.open(file).resize((962, 642), Image.Resampling.BICUBIC).save(folder / f"{number}.jpg", quality=95)
    data = make_data(tmp_path, layout="derived", derive=lambda x: x, jitter=False, image_size=128)
    data.setup()
    for index in range(5):
        quick, exact = (dataset[index]["target"].float() for dataset in (data.training, data.datasets["train"]))
        assert 10 * torch.log10(255**2 / (quick - exact).square().mean()) > 38


def test_two_halves_of_one_image_are_not_scaled(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        (tmp_path / split).mkdir()
        image(3, (514, 256)).save(tmp_path / split / "1.jpg")  # scaled it would be 257 pixels wide
    data = make_data(tmp_path, layout="aligned", input_folder=None, target_folder=None, jitter=False)
    data.setup()

    assert torch.equal(data.training[0]["input"], data.datasets["train"][0]["input"])
