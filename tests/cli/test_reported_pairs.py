"""Faults that people met with pairs and what is said of them: what was typed, and the right answer."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY_AUTOENCODER, Command, comic_of, image, read_csv, read_json, succeeded
from helpers.training import make_data
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from image_translation import load


def pair(root: Path, *names: str) -> Path:
    """Images in files of these names, two by two a pair."""
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        source = image(number // 2)
        (comic_of(source) if number % 2 else source).save(path)
    return root


@pytest.mark.parametrize(("folders", "names"), [
    (("trainA", "trainB"), ("trainA/1.png", "trainB/1.png", "testA/2.png", "testB/2.png")),
    (("A", "B"), ("trainA/1.png", "trainB/1.png", "testA/2.png", "testB/2.png")),
    (("A", "B"), ("train_A/1.png", "train_B/1.png", "test_A/2.png", "test_B/2.png")),
    (("train_A", "train_B"), ("train_A/1.png", "train_B/1.png", "test_A/2.png", "test_B/2.png")),
])  # fmt: skip
def test_the_folders_of_other_tools_are_splits(
    folders: tuple[str, str], names: tuple[str, ...], command: Command, tmp_path: Path
) -> None:
    root = pair(tmp_path / "pairs", *names, "extra/3.png")
    result = command("check", f"data.root={root}", "data.val_fraction=0", "data.layout=folders",
                     f"data.input_folder={folders[0]}", f"data.target_folder={folders[1]}")  # fmt: skip
    assert "Pairs: 1 in train, 1 in test." in result.stdout
    assert "ignored folders: extra" in result.stdout


def test_sub_folders_are_searched(command: Command, tmp_path: Path) -> None:
    root = pair(tmp_path / "pairs", "train/face/bonn/1.png", "train/comics/bonn/1.png", "train/face/köln/1.png",
                "train/comics/köln/1.png", "val/face/2.png", "val/comics/2.png", "test/face/a/b/3.png",
                "test/comics/a/b/3.png")  # fmt: skip
    run = tmp_path / "run"
    succeeded(command("train", *TINY_AUTOENCODER, f"data.root={root}", f"hydra.run.dir={run}"))
    assert [row["name"] for row in read_csv(run / "test" / "per_image.csv")] == ["a_b_3"]
    assert (run / "test" / "images" / "a_b_3.png").exists()
    assert read_json(run / "run.json")["data"]["counts"] == {"train": 2, "val": 1, "test": 1}


@pytest.mark.parametrize(("names", "options"), [
    (("face/p00.png", "comics/p00_night.png", "face/p01.png", "comics/p01_night.png"), "data.target_suffix=_night"),
    (("face/a_x.png", "comics/a_y.png", "face/b_x.png", "comics/b_y.png"), "data.input_suffix=x data.target_suffix=y"),
])  # fmt: skip
def test_suffixes_that_make_pairs_are_proposed_and_work(
    names: tuple[str, ...], options: str, command: Command, tmp_path: Path
) -> None:
    root = f"data.root={pair(tmp_path / 'pairs', *names)}"
    fractions = ("data.val_fraction=0", "data.test_fraction=0")
    assert f"All are pairs with {options}" in command("check", root, *fractions).stdout
    assert "Pairs: 2 in train" in command("check", root, *fractions, *options.split()).stdout
    pair(tmp_path / "all", *(name.partition("/")[2] for name in names))
    same = ("data.input_folder=all", "data.target_folder=all", *options.split())
    assert "Pairs: 2 in train" in command("check", f"data.root={tmp_path}", *fractions, *same).stdout


def test_data_of_another_task_is_answered_with_that_task(comic_root: Path, command: Command) -> None:
    for task in ("monet", "facades", "coloring"):
        result = command("check", f"task={task}", f"data.root={comic_root}")
        assert "Is it for task=comic?" in result.stdout + result.stderr


def test_metadata_of_any_size_or_state_are_ignored_with_a_warning(
    comic_root: Path, command: Command, tmp_path: Path
) -> None:
    """Pixels are what counts."""
    faces, large, many = comic_root / "train" / "face", PngInfo(), PngInfo()
    large.add_text("prompt", "x" * 2**21, zip=True)
    for number in range(70):
        many.add_itxt(str(number), "y" * (2**20 - 100), zip=True)
    options: list[dict[str, Any]] = [
        {"pnginfo": large}, {"pnginfo": many}, {"exif": b"Exif\0\0broken"}, {"icc_profile": b"no profile"},
        {"icc_profile": b"\0" * 2**21},
    ]  # fmt: skip
    whole = make_data(comic_root)
    whole.setup()
    before = whole.datasets["train"][0]["input"]
    for number, more in enumerate(options):
        image(number + 1).save(faces / f"train{number}.png", **more)
    image(6).save(faces / "train5.webp", lossless=True, exif=b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0")
    (faces / "train5.png").unlink()
    run = tmp_path / "run"
    result = succeeded(command("train", *TINY_AUTOENCODER, f"data.root={comic_root}", f"hydra.run.dir={run}",
                               "data.cache=none"))  # fmt: skip
    texts = "texts or its color profile"
    for number, what in enumerate([texts, texts, "EXIF", "color profile is", texts]):
        assert len(re.findall(rf"train{number}\.png: its {what}.* ignored", result.stdout)) == 1
    whole.datasets.clear()
    whole.setup()
    assert torch.equal(whole.datasets["train"][0]["input"], before)


def test_a_model_knows_the_background_that_it_was_trained_on(
    comic_root: Path, command: Command, tmp_path: Path
) -> None:
    run, file = tmp_path / "run", tmp_path / "generator.safetensors"
    succeeded(command("train", *TINY_AUTOENCODER, f"data.root={comic_root}", f"hydra.run.dir={run}",
                      "data.background=black"))  # fmt: skip
    succeeded(command("export", f"run={run}", f"output={file}"))
    clear, black = Image.new("RGBA", (40, 24), (255, 255, 255, 0)), Image.new("RGB", (40, 24))
    for model in (load(run), load(file)):
        assert np.array_equal(model.predict(clear), model.predict(black))


def test_values_in_a_corner_of_their_range_and_label_maps_are_warned_of(command: Command, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(4):
        photo = np.asarray(image(number).convert("L")).astype(np.uint16) * 16  # 12 bits
        labels = np.kron(rng.integers(0, 32, (8, 8), np.uint8), np.ones((8, 8), np.uint8))
        for folder, pixels in {"face": photo, "comics": labels}.items():
            (tmp_path / "pairs" / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "pairs" / folder / f"{number}.png")
    said = command("check", f"data.root={tmp_path / 'pairs'}").stdout
    assert "Images that use less than a quarter of their range" in said
    assert "4 of 4 inputs" in said
    assert "Give the numbers of label maps clear colors" in said
    assert "4 of 4 targets" in said


def test_what_a_crop_loses_is_said_once(comic_root: Path, command: Command) -> None:
    for path in comic_root.rglob("*.png"):
        Image.open(path).resize((96, 64)).save(path)
    for _ in range(2):  # from the files, and from what is remembered of them
        result = command("train", *TINY_AUTOENCODER, f"data.root={comic_root}", "trainer.fast_dev_run=true")
        assert result.stdout.count("lose what is outside of their middle, 33 % on average.") == 1
    result = command("train", *TINY_AUTOENCODER, f"data.root={comic_root}", "trainer.fast_dev_run=true",
                     "data.resize=stretch")  # fmt: skip
    assert "outside of their middle" not in result.stdout
