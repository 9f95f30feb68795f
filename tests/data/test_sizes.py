"""Images that are not square, and of many sizes: how they are resized, cropped to windows, kept, and tested whole."""

import logging
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from conftest import comic_of, image
from helpers.training import fit, make_model
from PIL import Image
from recorder import Recorder, datamodule

from image_translation.cli.errors import UserError
from image_translation.data.dataset import Held, PairedImageDataset
from image_translation.data.images import resize_image
from image_translation.data.transforms import to_float, to_stored
from image_translation.models import ResUNet

SIZES = [(96, 64), (64, 96), (50, 80), (130, 70)]  # width and height


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Pairs of four sizes: 8 train, 4 val, 4 test."""
    for number, (split, count) in enumerate({"train": 8, "val": 4, "test": 4}.items()):
        for side in ("face", "comics"):
            (tmp_path / "pairs" / split / side).mkdir(parents=True)
        for i in range(count):
            face = image(10 * number + i, SIZES[i % 4])
            face.save(tmp_path / "pairs" / split / "face" / f"{split}{i}.png")
            comic_of(face).save(tmp_path / "pairs" / split / "comics" / f"{split}{i}.png")
    return tmp_path / "pairs"


def pixels(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)


def test_every_way_to_resize() -> None:
    """Against Pillow on images whose other part has another color."""
    wide = Image.new("RGB", (60, 20), "red")
    wide.paste("blue", (20, 0, 40, 20))  # the middle third
    as_array = {way: np.asarray(resize_image(wide, 16, 32, way)) for way in ("crop", "stretch", "pad", "fit", "whole")}
    assert {way: array.shape[:2] for way, array in as_array.items()} == {
        "crop": (16, 32), "stretch": (16, 32), "pad": (16, 32), "fit": (11, 32), "whole": (20, 60)
    }  # fmt: skip
    assert np.array_equal(as_array["stretch"], wide.resize((32, 16), Image.Resampling.BICUBIC))
    assert np.array_equal(as_array["crop"], wide.crop((10, 0, 50, 20)).resize((32, 16), Image.Resampling.BICUBIC))
    assert np.array_equal(as_array["fit"], wide.resize((32, 11), Image.Resampling.BICUBIC))
    assert np.array_equal(as_array["pad"][:11], as_array["fit"])
    assert np.array_equal(as_array["pad"][11:], as_array["fit"][:5:-1])  # reflected
    assert np.array_equal(as_array["whole"], wide)


@pytest.mark.parametrize("resize", ["crop", "stretch", "pad"])
def test_training_images_have_one_size_and_with_pad_tests_show_all_of_each(root: Path, resize: str) -> None:
    data, model = datamodule(root, image_size=[32, 64], resize=resize, batch_size=3, hflip=False), Recorder()
    trainer = fit(model, data)
    assert {tuple(batch["input"].shape[1:]) for batch in model.batches} == {(3, 32, 64)}
    model.batches = []
    trainer.test(model, datamodule=data, verbose=False)
    shapes = [tuple(batch["input"].shape) for batch in model.batches]
    if resize == "pad":
        assert shapes == [(1, 3, 32, 48), (1, 3, 32, 21), (1, 3, 32, 20), (1, 3, 32, 59)]
    else:
        assert shapes == [(4, 3, 32, 64)]


def in_file(window: torch.Tensor, whole: torch.Tensor) -> list[tuple[int, int]]:
    """Top and left of all places where a window (3, h, w) is in an image."""
    _, height, width = window.shape
    views = whole.unfold(1, height, 1).unfold(2, width, 1)
    return [(int(top), int(left)) for top, left in (views == window[:, None, None]).all(3).all(3).all(0).nonzero()]


@pytest.mark.parametrize("cache", ["none", "ram"])
def test_windows_are_parts_of_the_files_others_each_epoch_and_tests_are_whole(root: Path, cache: str) -> None:
    options: dict[str, Any] = {"image_size": [32, 48], "resize": "random_crop", "hflip": False, "cache": cache}
    data, model = datamodule(root, batch_size=3, **options), Recorder()
    trainer = fit(model, data, max_epochs=2)
    places: dict[str, list[tuple[int, int]]] = {}
    for batch in model.batches:
        assert batch["input"].shape[1:] == (3, 32, 48)
        for name, *halves in zip(batch["name"], batch["input"], batch["target"], strict=True):
            found = [
                in_file(to_stored(half), pixels(root / "train" / folder / f"{name}.png"))
                for half, folder in zip(halves, ("face", "comics"), strict=True)
            ]
            assert found[0] == found[1]  # the same place in both
            assert len(found[0]) == 1
            places.setdefault(name, []).extend(found[0])
    assert len(places) == 8
    assert all(len(of_pair) == 2 for of_pair in places.values())
    assert sum(first != second for first, second in places.values()) >= 6  # another one each epoch
    model.batches = []
    trainer.test(model, datamodule=data, verbose=False)
    for batch in model.batches:
        assert torch.equal(batch["input"][0], to_float(pixels(root / "test" / "face" / f"{batch['name'][0]}.png")))
    assert isinstance(data.caches["val"], Held if cache == "ram" else PairedImageDataset)


def test_windows_reach_every_place_and_small_images_are_reflected(root: Path) -> None:
    data = datamodule(root, image_size=[64, 96], resize="random_crop")
    windows = data.dataloader("training").dataset
    seen = {in_file(windows[0, number]["input"], pixels(root / "train/face/train0.png"))[0] for number in range(5)}
    assert seen == {(0, 0)}  # of its own size
    small = windows[2, 7]["input"]  # 50×80
    whole = pixels(root / "train/face/train2.png")
    top = in_file(small[:, :, :50], whole)[0][0]
    assert torch.equal(small[:, :, 50:], whole[:, top : top + 64].flip(-1)[..., :46])
    data = datamodule(root, image_size=[32, 93], resize="random_crop")
    windows = data.dataloader("training").dataset
    lefts = {in_file(windows[0, number]["input"], pixels(root / "train/face/train0.png"))[0][1] for number in range(60)}
    assert lefts == {0, 1, 2, 3}


def test_a_resumed_run_sees_the_windows_that_it_would_have_seen(root: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"image_size": 32, "resize": "random_crop", "batch_size": 3}

    class Save(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, model: Any, *_: Any) -> None:
            if len(model.batches) == 4:
                trainer.save_checkpoint(tmp_path / "last.ckpt")

    whole, rest = Recorder(), Recorder()
    fit(whole, datamodule(root, **options), max_epochs=3, callbacks=[Save()])
    fit(rest, datamodule(root, **options), max_epochs=3, ckpt_path=tmp_path / "last.ckpt")
    assert len(whole.batches) - 4 == len(rest.batches) == 5
    assert all(torch.equal(a["input"], b["input"]) for a, b in zip(whole.batches[4:], rest.batches, strict=True))


def test_an_image_is_scored_at_its_own_size_as_scikit_image_does(root: Path) -> None:
    """Sizes that no network takes as they are; the curve that the training begins with is the exact negative."""
    data = datamodule(root, image_size=32, resize="random_crop", batch_size=4)
    model = ResUNet(base_channels=8, depth=3)
    trainer = fit(model, data, max_epochs=1)
    (scores,) = trainer.test(model, datamodule=data, verbose=False)
    assert set(model.results["test"]) == {f"test{i}" for i in range(4)}
    assert scores["color_curve/psnr"] > 45
    for name, row in model.results["identity"].items():
        face, comic = (pixels(root / "test" / folder / f"{name}.png").double() for folder in ("face", "comics"))
        assert row["mse"] == pytest.approx(float((face - comic).square().mean()), rel=1e-6)
        assert row["psnr"] == pytest.approx(10 * math.log10(255**2 / row["mse"]), abs=1e-4)


@pytest.mark.parametrize(("size", "levels"), [([64, 96], 5), (96, 5), ([128, 64], 6), (64, 6)])
def test_networks_halve_images_as_often_as_both_sides_allow(size: Any, levels: int) -> None:
    unet, autoencoder = make_model("pix2pix", image_size=size), make_model("autoencoder", image_size=size)
    assert unet.generator.size_divisibility == 2**levels
    assert autoencoder.generator.size_divisibility == 8  # down to 8 or a little more
    assert make_model("pix2pix", image_size=size, depth=3).generator.size_divisibility == 8


@pytest.mark.parametrize(("model", "size", "message"), [
    (ResUNet(base_channels=8), [40, 64], "data.image_size=[40, 64]: both must be multiples of 16 for this model"),
    (ResUNet(base_channels=8, depth=5), 16, "data.image_size=[16, 16]: both must be multiples of 32 for this model"),
])  # fmt: skip
def test_a_size_that_a_network_cannot_take_is_refused(root: Path, model: Any, size: Any, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        fit(model, datamodule(root, image_size=size))


@pytest.mark.parametrize(("name", "size", "message"), [
    ("pix2pix", [48, 64], r"image_size must be a multiple of 32; a smaller model\.depth takes others; got \[48, 64\]"),
    ("autoencoder", 40, "image_size must be a multiple of 32"),
])  # fmt: skip
def test_a_size_that_gives_no_depth_is_refused(name: str, size: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_model(name, image_size=size)
    with pytest.raises(UserError, match="must be a multiple of 16 with a depth of 4; got 40"):
        make_model(name, image_size=40, depth=4)


def test_what_a_crop_loses_is_said_once(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        datamodule(root, image_size=[32, 48])
        datamodule(root, image_size=[32, 48], resize="pad")
    lost = [1 - min(w / h / 1.5, 1.5 * h / w) for w, h in SIZES]
    assert caplog.text.count("Images of other proportions than 48×32 lose") == 1
    assert f"{100 * sum(lost) / 4:.0f} % on average" in caplog.text


@pytest.mark.parametrize(("resize", "size", "tested"), [("random_crop", (40, 10), 10), ("pad", (200, 30), 10)])
def test_an_image_that_is_too_small_for_ssim_is_refused_by_name(
    root: Path, resize: str, size: tuple[int, int], tested: int
) -> None:
    for side in ("face", "comics"):
        image(0, size).save(root / "val" / side / "small.png")
    with pytest.raises(UserError, match=rf"val/comics/small\.png: of .* would be tested at {tested}; SSIM needs 11"):
        datamodule(root, image_size=64, resize=resize)
    assert len(datamodule(root, image_size=64, resize="stretch").datasets["val"]) == 5
    for path in root.glob("*/comics/*.png"):
        Image.open(path).convert("L").point(lambda value: value // 128).save(path)
    datamodule(root, image_size=64, resize=resize, target="mask", classes=2)  # which have no SSIM


@pytest.mark.parametrize(("resize", "side"), [("pad", 36), ("random_crop", 32)])
def test_without_a_trainer_training_images_still_have_one_size(root: Path, resize: str, side: int) -> None:
    """As a user's own loop gets them: with pad as large as random crops need them."""
    data = datamodule(root, image_size=32, resize=resize, batch_size=4)
    assert [tuple(batch["input"].shape) for batch in data.train_dataloader()] == [(4, 3, side, side)] * 2


def test_of_npy_files_only_the_window_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = np.random.default_rng(0).normal(0, 1, (5, 90, 120, 2)).astype(np.float32)
    for i, split in enumerate(["train"] * 3 + ["val", "test"]):
        for folder in ("face", "comics"):
            (tmp_path / split / folder).mkdir(parents=True, exist_ok=True)
            np.save(tmp_path / split / folder / f"{i}.npy", arrays[i])
    data = datamodule(tmp_path, input="raw", target="raw", range=[-5, 5], image_size=32, resize="random_crop")
    windows = data.dataloader("training").dataset
    monkeypatch.setattr("image_translation.data.dataset.read", None)  # which would read all of it
    for number in range(10):
        window = windows[number % 3, number]
        assert torch.equal(window["input"], window["target"])
        assert len(in_file(window["input"], torch.from_numpy(arrays[number % 3]).permute(2, 0, 1))) == 1
