"""Pairs in folders."""

import logging
from hashlib import sha256
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
from PIL import Image

from image_translation.cli.errors import UserError
from image_translation.data.sources import SOURCES
from image_translation.data.sources.base import Pair, PairSource, raise_for


def source(layout: str = "folders", a: str | None = "a", b: str | None = "b", direction: str = "AtoB") -> PairSource:
    return SOURCES[layout](a, b, direction=direction)


def find(root: Path, source: PairSource, fraction: float = 0.0) -> dict[str, list[Pair]]:
    splits, errors = source.scan(root, fraction, fraction)
    raise_for(errors)
    return splits


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def names(root: Path, fraction: float = 0.0) -> dict[str, list[str]]:
    return {split: [pair.name for pair in pairs] for split, pairs in find(root, source(), fraction).items()}


def test_pairs_share_a_stem_and_nothing_else(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    decomposed = normalize("NFD", "ä ö.bmp")  # as macOS stores it
    touch(
        tmp_path,
        "a/10.png",
        "a/9.JPG",
        "a/ä ö.webp",
        "b/10.jpeg",
        "b/9.tiff",
        f"b/{decomposed}",
        "a/.hidden.png",
        "a/@eaDir/9.JPG/SYNOPHOTO_THUMB_M.jpg",
        "b/@eaDir/9.tiff/SYNOPHOTO_THUMB_M.jpg",
        "@eaDir/9.jpg",
    )
    assert find(tmp_path, source())["train"] == [
        Pair("10", a / "10.png", b / "10.jpeg"),
        Pair("9", a / "9.JPG", b / "9.tiff"),
        Pair("ä ö", a / "ä ö.webp", b / decomposed),
    ]
    assert find(tmp_path, source(direction="BtoA"))["train"][0] == Pair("10", b / "10.jpeg", a / "10.png")


@pytest.mark.parametrize("pattern", ["{split}/{side}/{split}1.png", "{side}/{split}/{split}1.png"])
def test_splits_are_sub_folders_in_either_order(tmp_path: Path, pattern: str) -> None:
    touch(tmp_path, *(pattern.format(split=split, side=side) for split in ("train", "val", "test") for side in "ab"))
    assert names(tmp_path) == {"train": ["train1"], "val": ["val1"], "test": ["test1"]}


@pytest.mark.parametrize("layout", ["aligned", "derived"])
def test_one_folder(tmp_path: Path, layout: str) -> None:
    touch(tmp_path, "train/1.png", "val/2.png", "test/3.png", "other/photos/4.png")
    for split, pairs in find(tmp_path, source(layout, b=None)).items():
        (path,) = (tmp_path / split).iterdir()
        assert pairs == [Pair(path.stem, path if layout == "aligned" else None, path)]
    assert [pair.name for pair in find(tmp_path / "other", source(layout, b="photos"))["train"]] == ["4"]


def test_halves_of_an_aligned_image(tmp_path: Path) -> None:
    path = tmp_path / "1.png"
    both = Image.new("RGB", (8, 4), "red")
    both.paste("blue", (4, 0, 8, 4))
    both.save(path)
    for direction, (left, right) in {"AtoB": ("input", "target"), "BtoA": ("target", "input")}.items():
        halves = source("aligned", direction=direction).open(Pair("1", path, path), lambda file, _: Image.open(file))
        assert (np.asarray(halves[left]) == (255, 0, 0)).all()
        assert (np.asarray(halves[right]) == (0, 0, 255)).all()
    both.crop((0, 0, 7, 4)).save(path)
    with pytest.raises(UserError, match=r"1\.png: 7 pixels wide"):
        source("aligned").open(Pair("1", path, path), lambda file, _: Image.open(file))


def test_adding_images_moves_none_to_another_split(tmp_path: Path) -> None:
    """A pair's split depends on the hash of its name alone, in every version."""
    every = [str(i) for i in range(400)]
    touch(tmp_path, *(f"{side}/{name}.png" for side in "ab" for name in every))
    place = {name: int(sha256(name.encode()).hexdigest()[:16], 16) / 16**16 for name in every}
    assert {split: set(found) for split, found in names(tmp_path, fraction=0.2).items()} == {
        "train": {name for name in every if place[name] >= 0.4},
        "val": {name for name in every if 0.2 <= place[name] < 0.4},
        "test": {name for name in every if place[name] < 0.2},
    }


def test_a_missing_split_is_cut_out_of_train(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, *(f"train/{side}/{i}.png" for side in "ab" for i in range(100)), "test/a/x.png", "test/b/x.png")
    with caplog.at_level(logging.INFO):
        found = names(tmp_path, fraction=0.2)
    assert found["test"] == ["x"]
    assert found["val"]
    assert sorted(found["train"] + found["val"]) == sorted(str(i) for i in range(100))
    assert f"No pairs stored for val: uses {len(found['val'])} of the 100 for train." in caplog.text


def test_what_is_ignored_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, *(f"{split}/{side}/{split}.png" for split in ("train", "val", "test") for side in "ab"))
    touch(tmp_path, "validation/a/1.png", "a/loose.png", "train/c/1.png", "train/b/notes.txt", "train/b/Thumbs.db")
    assert names(tmp_path) == {"train": ["train"], "val": ["val"], "test": ["test"]}
    for text in ("ignored folders: a, train/c, validation", "ignored 1 images that are in no split",
                 "b: ignored 1 that are not images: notes.txt"):  # fmt: skip
        assert text in caplog.text


def test_everything_that_is_no_pair_is_named(tmp_path: Path) -> None:
    touch(tmp_path, *(f"a/{i:03}.png" for i in range(60)), "b/none.png", "a/two.jpg", "a/two.png", "b/two.png")
    (tmp_path / "a" / "link.png").symlink_to("nowhere.png")
    with pytest.raises(UserError) as error:
        names(tmp_path)
    for text in ("Links to files that do not exist:", "a/link.png → nowhere.png", "the same stem:", "two.jpg, two.png",
                 "without a partner", "a/000.png", "a/049.png", "and 11 more"):  # fmt: skip
        assert text in str(error.value)


@pytest.mark.parametrize(("file", "message"), [
    ("train/a/1.png", r"train/b does not exist"),
    ("c/1.png", r"No images(.|\n)*train/a and .*train/b(.|\n)*Found: c"),
])  # fmt: skip
def test_a_folder_that_is_missing_is_named(file: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        names(touch(tmp_path, file))
