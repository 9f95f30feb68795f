"""Sets that are as they should be but look odd: masks, holes, one outline; and real faults among them."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import REAL_DATA
from PIL import Image, ImageDraw
from scipy import ndimage

from image_translation.checking.findings import KINDS, PROBLEM
from image_translation.checking.report import examine
from image_translation.data import PairedImageDataModule
from image_translation.data.sample import sample_folder

Pairs = Iterator[tuple[Image.Image, Image.Image]]


def photos() -> list[Image.Image]:
    return [Image.open(path).convert("RGB") for path in sorted(sample_folder("monet").glob("*/photo/*.png"))]


def with_a_hole() -> Pairs:
    """Inpainting: more than a half of each photo is missing."""
    for photo in photos():
        holed = photo.copy()
        ImageDraw.Draw(holed).rectangle((35, 35, 221, 221), fill="white")
        yield holed, photo


def of_one_outline() -> Pairs:
    """Slices of heads: the outline is nearly the same, the texture another; the targets are in another contrast."""
    random = np.random.default_rng(1)
    rows, columns = np.mgrid[:256, :256]
    for _ in range(60):
        radius = np.hypot((columns - 128) / (85 + random.normal(0, 2)), (rows - 128) / (105 + random.normal(0, 2)))
        texture = ndimage.gaussian_filter(random.normal(0, 1, (256, 256)), 4)
        texture /= texture.std()
        halves = [np.where(radius < 1, 120 + sign * 30 * texture, 5) for sign in (1, -1)]
        for half, skull in zip(halves, (220, 60), strict=True):
            half[(radius < 1) & (radius > 0.92)] = skull
        first, second = (Image.fromarray(half.clip(0, 255).astype(np.uint8)) for half in halves)
        yield first, second


def with_masks_as_inputs() -> Pairs:
    """Ovals that differ by a few pixels, around different photos."""
    random = np.random.default_rng(1)
    for photo in photos():
        x, y = random.normal(128, 5, 2)
        width, height = random.normal(70, 5), random.normal(95, 5)
        mask = Image.new("L", (256, 256))
        ImageDraw.Draw(mask).ellipse((x - width, y - height, x + width, y + height), fill=255)
        yield mask, Image.composite(photo, photo.point(lambda value: value // 3), mask)


def write(root: Path, pairs: Pairs) -> Path:
    """Every fourth pair is in test."""
    for index, halves in enumerate(pairs):
        for side, half in zip("ab", halves, strict=True):
            path = root / ("train" if index % 4 else "test") / side / f"{index:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            half.save(path)
    return root


def found(root: Path) -> dict[str, list[str]]:
    """The texts of the findings by kind."""
    texts: dict[str, list[str]] = defaultdict(list)
    for finding in examine(PairedImageDataModule("x", str(root), input_folder="a", target_folder="b")).findings:
        texts[finding.kind].append(finding.text)
    return texts


@pytest.mark.parametrize("make", [with_a_hole, of_one_outline, with_masks_as_inputs])
def test_no_problem_is_made_of_them(make: Callable[[], Pairs], tmp_path: Path) -> None:
    texts = found(write(tmp_path, make()))
    assert not [kind for kind in texts if KINDS[kind].severity == PROBLEM], texts


@pytest.mark.realdata
def test_a_hole_makes_no_shift(tmp_path: Path) -> None:
    """Of one of these photos the contours lie 55 pixels off the hole's: what is left of it is in place."""
    paths = sorted((REAL_DATA / "monet" / "train" / "photo").iterdir())[46:56]
    holed = []
    for path in paths:
        photo = Image.open(path).convert("RGB")
        ImageDraw.Draw(image := photo.copy()).rectangle((40, 40, 216, 216), fill="white")
        holed.append((image, photo))
    assert not found(write(tmp_path, iter(holed)))


def test_copies_are_found_among_heads_of_one_outline(tmp_path: Path) -> None:
    write(tmp_path, of_one_outline())
    for side in "ab":
        head = Image.open(tmp_path / "train" / side / "01.png")
        head.resize((200, 200)).save(tmp_path / "again.jpg", quality=60)
        Image.open(tmp_path / "again.jpg").resize((256, 256)).save(tmp_path / "test" / side / "copy.png")
    texts = found(tmp_path)
    assert list(texts) == ["leak"]
    (text,) = texts["leak"]
    assert text.startswith("train/01, test/copy: input and target nearly the same")


def test_copies_are_found_among_masks(tmp_path: Path) -> None:
    """Whole pairs are a leak, though the masks belong to larger groups of masks that are nearly the same."""
    write(tmp_path, with_masks_as_inputs())
    for side in "ab":
        (tmp_path / "test" / side / "copy.png").write_bytes((tmp_path / "train" / side / "01.png").read_bytes())
    texts = found(tmp_path)
    assert [text for text in texts["leak"] if text.startswith("train/01, test/copy: input and target")]
    assert len(texts["leak"]) == 1
    assert texts["same input"]


@pytest.mark.parametrize(("kind", "make"), [("leak", with_a_hole), ("same input", with_masks_as_inputs)])
def test_the_very_same_input_with_another_target(kind: str, make: Callable[[], Pairs], tmp_path: Path) -> None:
    """A photo was copied; a mask may well be the same."""
    write(tmp_path, make())
    copied = tmp_path / "test" / "a" / "00.png"
    copied.write_bytes((tmp_path / "train" / "a" / "01.png").read_bytes())
    texts = found(tmp_path)
    assert [text for text in texts[kind] if "train/01" in text and "test/00" in text]
    assert ("leak" in texts) == (kind == "leak")


def drawn() -> Pairs:
    for photo, path in zip(photos(), sorted(sample_folder("monet").glob("*/monet/*.png")), strict=True):
        yield photo, Image.open(path).convert("RGB")


@pytest.mark.parametrize(("count", "kind"), [(1, "perhaps shifted"), (2, "perhaps shifted"), (6, "shifted")])
def test_a_few_that_look_shifted_are_a_warning_and_many_a_problem(count: int, kind: str, tmp_path: Path) -> None:
    write(tmp_path, drawn())
    for path in sorted((tmp_path / "train" / "b").iterdir())[:count]:
        array = np.asarray(Image.open(path))
        Image.fromarray(np.pad(array, ((0, 0), (12, 0), (0, 0)), mode="edge")[:, :-12]).save(path)
    texts = found(tmp_path)
    assert list(texts) == [kind]
    assert len(texts[kind]) == count
    assert all("lies 12 pixels right" in text for text in texts[kind])
    assert (KINDS[kind].severity == PROBLEM) == (count == 6)


def test_one_that_looks_wrong_is_a_warning_and_two_exchanged_ones_are_a_problem(tmp_path: Path) -> None:
    targets = write(tmp_path, drawn()) / "train" / "b"
    first, second = (targets / name for name in ("01.png", "26.png"))
    own, other = first.read_bytes(), second.read_bytes()
    second.write_bytes(own)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)).save(first)
    (text,) = found(tmp_path)["perhaps wrong partner"]
    assert text.startswith("train/01: ")
    first.write_bytes(other)
    texts = found(tmp_path)
    assert list(texts) == ["wrong partner"]
    assert len(texts["wrong partner"]) == 2
