"""The check of a set: planted faults, faults throughout it, and sets that look odd but are sound."""

import io
import itertools
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REAL_DATA, Command, image, read_json, succeeded
from PIL import Image, ImageChops, ImageDraw, ImageOps
from scipy import ndimage

from image_translation.checking.findings import PROBLEMS
from image_translation.checking.report import examine
from image_translation.data import PairedImageDataModule
from image_translation.data.sample import sample_folder

Change = Callable[[Image.Image], Image.Image]
Pairs = Iterator[tuple[Image.Image, Image.Image]]


def rewrite(path: Path, change: Change) -> None:
    change(Image.open(path).convert("RGB")).save(path)


def compressed(image: Image.Image) -> Image.Image:
    image.resize((image.width * 3 // 4, image.height * 3 // 4)).save(buffer := io.BytesIO(), "JPEG", quality=60)
    return Image.open(buffer).resize(image.size, Image.Resampling.BICUBIC)


def plant(root: Path) -> dict[str, list[str]]:
    """Put 16 faults into a set of the task comic. Returns what the findings of each kind must name."""
    faces, drawings, swap = root / "train" / "face", root / "train" / "comics", root / "swap"
    orphan, double, cut, text, small, flipped, one, other, white, gray, copied, *more = sorted(
        path.name for path in faces.iterdir()
    )
    shutil.rmtree(root / "val", ignore_errors=True)
    (drawings / orphan).unlink()
    shutil.copy(faces / double, (faces / double).with_suffix(".bmp"))
    (faces / "link.png").symlink_to("nowhere.png")
    (drawings / cut).write_bytes((drawings / cut).read_bytes()[:-200])
    (faces / text).write_text("no image")
    rewrite(faces / small, lambda image: image.resize((200, 256)))
    rewrite(drawings / flipped, ImageOps.mirror)
    rewrite(drawings / white, lambda image: Image.new("RGB", image.size, "white"))
    rewrite(faces / gray, lambda image: image.convert("L").convert("RGB"))
    shutil.copy(faces / copied, drawings / copied)
    for source, target in ((one, swap), (other, drawings / one), (swap, drawings / other)):
        (drawings / source).rename(target)
    expected = {
        "empty split": [f"The split val has no pairs in {root}."], "orphan": [str(faces / orphan)],
        "double stem": [double], "broken link": ["link.png"], "input is target": [f"train/{Path(copied).stem}"],
        "unusable": [str(drawings / cut), str(faces / text), f"{faces / small} is 200×256 but"],
        "flipped": [f"train/{Path(flipped).stem}: agreement"], "one color": [f"train/{Path(white).stem}: target"],
        "gray": [f"train/{Path(gray).stem}: input"], "leakage": [], "duplicate": [],
        "wrong target": [f"train/{Path(name).stem}: " for name in (one, other)],
    }  # fmt: skip
    copies: list[tuple[str, Change, str]] = [
        ("test", lambda image: image, " the same"), ("test", compressed, " nearly the same"),
        ("test", ImageOps.mirror, ""), ("train", lambda image: image, " the same"),
    ]  # fmt: skip
    for name, (split, change, how) in zip(more, copies, strict=False):
        for side in ("face", "comics"):
            shutil.copy(root / "train" / side / name, target := root / split / side / f"x{name}")
            rewrite(target, change)
        kind, stem = "leakage" if split == "test" else "duplicate", Path(name).stem
        expected[kind].append(f"train/{stem}, {split}/x{stem}: input and target{how}")
    return expected


def found(report: dict[str, Any]) -> dict[str, list[str]]:
    """The texts of a report's findings, by kind."""
    texts: dict[str, list[str]] = defaultdict(list)
    for finding in report["findings"]:
        texts[finding["kind"]].append(finding["text"])
    return texts


@pytest.mark.parametrize("real", [False, pytest.param(True, marks=pytest.mark.realdata)])
def test_every_planted_fault_is_found_and_nothing_else(real: bool, command: Command, tmp_path: Path) -> None:
    root = shutil.copytree(REAL_DATA / "comic" if real else sample_folder("comic"), tmp_path / "pairs")
    expected = plant(root)
    report = tmp_path / "report"
    result = command("check", "task=comic", f"data.root={root}", "data.val_fraction=0", f"output={report}")
    assert result.returncode == 1, result.stderr
    texts = found(read_json(report / "check.json"))
    assert {kind: len(there) for kind, there in texts.items()} == {kind: len(there) for kind, there in expected.items()}
    for kind, fragments in expected.items():
        for fragment in fragments:
            assert any(fragment in text for text in texts[kind]), (kind, fragment, texts[kind])
            assert fragment in result.stdout
    page = (report / "check.html").read_text()
    assert all(text.split(": ")[-1] in page for text in texts["leakage"])
    assert page.count("<img") > 30
    assert "http" not in page


SOUND = ["task=comic", pytest.param("task=monet", marks=pytest.mark.slow), "task=coloring", "task=sketch"]
REAL = [f"task={task} data.root={REAL_DATA / task}" for task in ("comic", "coloring")]


@pytest.mark.parametrize("arguments", [*SOUND, *(pytest.param(text, marks=pytest.mark.realdata) for text in REAL)])
def test_no_false_alarm(arguments: str, command: Command) -> None:
    text = succeeded(command("check", *arguments.split(), "strict=true")).stdout
    assert "Nothing wrong with" in text
    assert ("built-in sample" in text) == ("data.root" not in arguments)


def test_gray_targets_of_colored_inputs_look_swapped(comic_root: Path, command: Command, tmp_path: Path) -> None:
    for path in comic_root.glob("*/comics/*.png"):
        Image.open(path).convert("L").save(path)
    options = (f"data.root={comic_root}", f"output={tmp_path / 'r'}")
    assert succeeded(command("check", "task=comic", *options)).stdout.count("Warning:") == 1
    assert command("check", "task=comic", *options, "strict=true").returncode == 2
    assert list(found(read_json(tmp_path / "r" / "check.json"))) == ["direction"]
    assert "Nothing wrong" in succeeded(command("check", "task=comic", *options, "data.direction=BtoA")).stdout
    succeeded(command("check", "task=coloring", "data.target_folder=comics", *options))  # to be colored
    assert found(read_json(tmp_path / "r" / "check.json")) == {"gray": ["100% of the images."]}


def test_bad_roots_leave_nothing_and_odd_folders_are_named(comic_root: Path, command: Command, tmp_path: Path) -> None:
    result = command("check", "data.root=/no/such/folder", f"output={tmp_path / 'r'}")
    assert result.returncode == 1
    assert "Error: data.root=/no/such/folder does not exist" in result.stderr
    assert not (tmp_path / "r").exists()
    (comic_root / "train").rename(comic_root / "training")
    result = command("check", "task=comic", f"data.root={comic_root}", f"output={tmp_path / 'r'}")
    assert result.returncode == 1
    assert ": training" in result.stdout + result.stderr
    assert list(found(read_json(tmp_path / "r" / "check.json"))) == ["empty"]


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
        parts, halves = [radius >= 1, radius > 0.92], ((30, 220), (-30, 60))
        arrays = (np.select(parts, [5, skull], 120 + contrast * texture) for contrast, skull in halves)
        first, second = (Image.fromarray(array.clip(0, 255).astype(np.uint8)) for array in arrays)
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


def found_in(root: Path) -> dict[str, list[str]]:
    return found(examine(PairedImageDataModule("x", str(root), input_folder="a", target_folder="b")).as_json())


@pytest.mark.parametrize("make", [with_a_hole, with_masks_as_inputs, with_one_mask_as_target])
def test_sound_sets_have_no_problems(make: Callable[[], Pairs], tmp_path: Path) -> None:
    texts = found_in(write(tmp_path, make()))
    assert not texts.keys() & PROBLEMS.keys(), texts
    assert ("same target" in texts) == (make is with_one_mask_as_target)


def test_faults_throughout_a_set(tmp_path: Path) -> None:
    inputs, targets = zip(*drawn(), strict=True)
    of_neighbors = write(tmp_path / "neighbors", zip(inputs, targets[1:] + targets[:1], strict=True))
    assert len(found_in(of_neighbors)["wrong target"]) > 20
    flipped = write(tmp_path / "flipped", zip(inputs, map(ImageOps.mirror, targets), strict=True))
    assert len(found_in(flipped)["flipped"]) > 40


def test_a_copy_is_found_among_images_that_are_alike(tmp_path: Path) -> None:
    write(tmp_path, of_one_outline())
    for side in "ab":
        compressed(Image.open(tmp_path / "train" / side / "01.png")).save(tmp_path / "test" / side / "copy.png")
    assert found_in(tmp_path) == {"leakage": ["train/01, test/copy: input and target nearly the same, or flipped."]}


@pytest.mark.parametrize(("kind", "make"), [("leakage", with_a_hole), ("same input", with_masks_as_inputs)])
def test_the_same_input_with_another_target(kind: str, make: Callable[[], Pairs], tmp_path: Path) -> None:
    """A photo was copied; a mask may well be the same."""
    write(tmp_path, make())
    shutil.copy(tmp_path / "train" / "a" / "01.png", tmp_path / "test" / "a" / "00.png")
    texts = found_in(tmp_path)
    assert [text for text in texts[kind] if "train/01" in text and "test/00" in text]
    assert ("leakage" in texts) == (kind == "leakage")


@pytest.mark.parametrize(("count", "kind"), [(2, "maybe shifted"), (6, "shifted")])
def test_a_few_that_look_shifted_are_a_warning_and_many_a_problem(count: int, kind: str, tmp_path: Path) -> None:
    write(tmp_path, drawn())
    paths = sorted((tmp_path / "train" / "b").iterdir())[:count]
    for path in paths:
        ImageChops.offset(Image.open(path), 12, 0).save(path)
    texts = found_in(tmp_path)
    assert list(texts) == [kind]
    expected = [f"{path.stem}: target shifted by +12 pixels in x and +0 in y." for path in paths]
    assert [text.partition("/")[2] for text in texts[kind]] == expected


def test_a_single_pair_that_looks_wrong_is_a_warning(tmp_path: Path) -> None:
    """Two exchanged ones are a problem: see test_check."""
    targets = write(tmp_path, drawn()) / "train" / "b"
    (targets / "01.png").replace(targets / "26.png")
    image(1, (256, 256)).save(targets / "01.png")
    (text,) = found_in(tmp_path)["maybe wrong target"]
    assert text.startswith("train/01: ")


def test_a_page_that_no_check_wrote_is_kept(comic_root: Path, command: Command, tmp_path: Path) -> None:
    page = tmp_path / "check.html"
    page.write_text("mine")
    result = command("check", f"data.root={comic_root}", f"output={tmp_path}")
    assert result.stderr.startswith(f"Error: {tmp_path} has a check.html that no check wrote")
    assert page.read_text() == "mine"
