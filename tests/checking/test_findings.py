"""Faults throughout a set, and sets that look odd but are sound: masks, holes, one outline."""

import itertools
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageDraw, ImageOps
from scipy import ndimage

from image_translation.checking.findings import PROBLEMS
from image_translation.checking.report import examine
from image_translation.data import PairedImageDataModule
from image_translation.data.sample import sample_folder

Pairs = Iterator[tuple[Image.Image, Image.Image]]


def drawn() -> Pairs:
    """The sample of monet."""
    for photo in sorted(sample_folder("monet").glob("*/photo/*.png")):
        yield Image.open(photo).convert("RGB"), Image.open(photo.parents[1] / "monet" / photo.name).convert("RGB")


def with_a_hole() -> Pairs:
    """Inpainting: a half of each photo is missing."""
    for photo, _ in drawn():
        holed = photo.copy()
        holed.paste("white", (35, 35, 221, 221))
        yield holed, photo


def of_one_outline() -> Pairs:
    """Slices of heads: nearly the same outline, different textures; the targets have another contrast."""
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
    for photo, _ in drawn():
        x, y = random.normal(128, 5, 2)
        width, height = random.normal(70, 5), random.normal(95, 5)
        mask = Image.new("L", (256, 256))
        ImageDraw.Draw(mask).ellipse((x - width, y - height, x + width, y + height), fill=255)
        yield mask, Image.composite(photo, photo.point(lambda value: value // 3), mask)


def with_one_mask_as_target() -> Pairs:
    mask = Image.new("L", (256, 256))
    mask.paste(255, (64, 64, 192, 192))
    for photo, _ in drawn():
        yield photo, mask


def write(root: Path, pairs: Pairs) -> Path:
    """Every fourth pair is in test."""
    for split, side in itertools.product(("train", "test"), "ab"):
        (root / split / side).mkdir(parents=True)
    for index, halves in enumerate(pairs):
        for side, half in zip("ab", halves, strict=True):
            half.save(root / ("train" if index % 4 else "test") / side / f"{index:02}.png")
    return root


def found(root: Path) -> dict[str, list[str]]:
    """The texts of the findings by kind."""
    texts: dict[str, list[str]] = defaultdict(list)
    for finding in examine(PairedImageDataModule("x", str(root), input_folder="a", target_folder="b")).findings:
        texts[finding.kind].append(finding.text)
    return texts


@pytest.mark.parametrize("make", [with_a_hole, with_masks_as_inputs, with_one_mask_as_target])
def test_sound_sets_have_no_problems(make: Callable[[], Pairs], tmp_path: Path) -> None:
    texts = found(write(tmp_path, make()))
    assert not texts.keys() & PROBLEMS.keys(), texts
    assert ("same target" in texts) == (make is with_one_mask_as_target)


def test_faults_throughout_a_set(tmp_path: Path) -> None:
    inputs, targets = zip(*drawn(), strict=True)
    of_neighbors = write(tmp_path / "neighbors", zip(inputs, targets[1:] + targets[:1], strict=True))
    assert len(found(of_neighbors)["wrong target"]) > 20
    flipped = write(tmp_path / "flipped", zip(inputs, map(ImageOps.mirror, targets), strict=True))
    assert len(found(flipped)["flipped"]) > 40


def test_a_copy_is_found_among_images_that_are_alike(tmp_path: Path) -> None:
    write(tmp_path, of_one_outline())
    for side in "ab":
        image = Image.open(tmp_path / "train" / side / "01.png")
        image.resize((200, 200)).save(tmp_path / "again.jpg", quality=60)
        Image.open(tmp_path / "again.jpg").resize((256, 256)).save(tmp_path / "test" / side / "copy.png")
    assert found(tmp_path) == {"leakage": ["train/01, test/copy: input and target nearly the same, or flipped."]}


@pytest.mark.parametrize(("kind", "make"), [("leakage", with_a_hole), ("same input", with_masks_as_inputs)])
def test_the_same_input_with_another_target(kind: str, make: Callable[[], Pairs], tmp_path: Path) -> None:
    """A photo was copied; a mask may well be the same."""
    write(tmp_path, make())
    shutil.copy(tmp_path / "train" / "a" / "01.png", tmp_path / "test" / "a" / "00.png")
    texts = found(tmp_path)
    assert [text for text in texts[kind] if "train/01" in text and "test/00" in text]
    assert ("leakage" in texts) == (kind == "leakage")


@pytest.mark.parametrize(("count", "kind"), [(2, "maybe shifted"), (6, "shifted")])
def test_a_few_that_look_shifted_are_a_warning_and_many_a_problem(count: int, kind: str, tmp_path: Path) -> None:
    write(tmp_path, drawn())
    paths = sorted((tmp_path / "train" / "b").iterdir())[:count]
    for path in paths:
        ImageChops.offset(Image.open(path), 12, 0).save(path)
    expected = [f"train/{path.stem}: target shifted by +12 pixels in x and +0 in y." for path in paths]
    assert found(tmp_path) == {kind: expected}


def test_a_single_pair_that_looks_wrong_is_a_warning(tmp_path: Path) -> None:
    """Two exchanged ones are a problem: see test_check."""
    targets = write(tmp_path, drawn()) / "train" / "b"
    (targets / "01.png").replace(targets / "26.png")
    Image.effect_noise((256, 256), 90).convert("RGB").save(targets / "01.png")
    (text,) = found(tmp_path)["maybe wrong target"]
    assert text.startswith("train/01: ")
