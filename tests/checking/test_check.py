"""The command `check`: on sets with planted faults, on sound ones, and with wrong options."""

import io
import json
import shutil
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import REAL_DATA, Command, succeeded
from PIL import Image, ImageOps

from image_translation.data.sample import sample_folder

Change = Callable[[Image.Image], Image.Image]


def rewrite(path: Path, change: Change) -> None:
    with Image.open(path) as image:
        changed = change(image.convert("RGB"))
    changed.save(path)


def compressed(image: Image.Image) -> Image.Image:
    image.resize((image.width * 3 // 4, image.height * 3 // 4)).save(buffer := io.BytesIO(), "JPEG", quality=60)
    return Image.open(buffer).resize(image.size, Image.Resampling.BICUBIC)


def plant(root: Path) -> dict[str, list[str]]:
    """Put 16 faults into a set of the task comic. Returns what the findings of each kind must name."""
    faces, drawings = root / "train" / "face", root / "train" / "comics"
    names = iter(sorted(path.name for path in faces.iterdir()))
    expected: dict[str, list[str]] = defaultdict(list)
    shutil.rmtree(root / "val", ignore_errors=True)
    expected["empty split"].append(f"The split val has no pairs in {root}.")
    (drawings / (name := next(names))).unlink()
    expected["orphan"].append(str(faces / name))
    shutil.copy(faces / (name := next(names)), (faces / name).with_suffix(".bmp"))
    expected["double stem"].append(name)
    (faces / "link.png").symlink_to("nowhere.png")
    expected["broken link"].append("link.png")
    path = drawings / next(names)
    path.write_bytes(path.read_bytes()[:-200])
    expected["unusable"].append(str(path))
    (path := faces / next(names)).write_text("no image")
    expected["unusable"].append(str(path))
    rewrite(path := faces / next(names), lambda image: image.resize((200, 256)))
    expected["unusable"].append(f"{path} is 200×256 but")
    copies: list[tuple[str, Change, str]] = [
        ("test", lambda image: image, " the same"), ("test", compressed, " nearly the same"),
        ("test", ImageOps.mirror, ""), ("train", lambda image: image, " the same"),
    ]  # fmt: skip
    for split, change, text in copies:
        name = next(names)
        for side in ("face", "comics"):
            shutil.copy(root / "train" / side / name, target := root / split / side / f"x{name}")
            rewrite(target, change)
        kind = "leakage" if split == "test" else "duplicate"
        expected[kind].append(f"train/{Path(name).stem}, {split}/x{Path(name).stem}: input and target{text}")
    flipped, one, other, white, gray, copied = (next(names) for _ in range(6))
    changes: dict[str, tuple[Path, Change, str]] = {
        "flipped": (drawings / flipped, ImageOps.mirror, "agreement"),
        "one color": (drawings / white, lambda image: Image.new("RGB", image.size, "white"), "target"),
        "gray": (faces / gray, lambda image: image.convert("L").convert("RGB"), "input"),
    }
    for kind, (path, change, text) in changes.items():
        rewrite(path, change)
        expected[kind].append(f"train/{path.stem}: {text}")
    first, second = (drawings / one).read_bytes(), (drawings / other).read_bytes()
    (drawings / one).write_bytes(second)
    (drawings / other).write_bytes(first)
    expected["wrong target"] += [f"train/{Path(name).stem}: " for name in (one, other)]
    shutil.copy(faces / copied, drawings / copied)
    expected["input is target"].append(f"train/{Path(copied).stem}")
    return expected


def found(folder: Path) -> dict[str, list[str]]:
    """The texts of a report's findings, by kind."""
    texts: dict[str, list[str]] = defaultdict(list)
    for finding in json.loads((folder / "check.json").read_text())["findings"]:
        texts[finding["kind"]].append(finding["text"])
    return texts


@pytest.mark.parametrize("real", [False, pytest.param(True, marks=pytest.mark.realdata)])
def test_every_planted_fault_is_found_and_nothing_else(real: bool, command: Command, tmp_path: Path) -> None:
    root = shutil.copytree(REAL_DATA / "comic" if real else sample_folder("comic"), tmp_path / "pairs")
    expected = plant(root)
    report = tmp_path / "report"
    result = command("check", "task=comic", f"data.root={root}", "data.val_fraction=0", f"output={report}")
    assert result.returncode == 1, result.stderr
    texts = found(report)
    assert {kind: len(there) for kind, there in texts.items()} == {kind: len(there) for kind, there in expected.items()}
    for kind, fragments in expected.items():
        for fragment in fragments:
            assert any(fragment in text for text in texts[kind]), (kind, fragment, texts[kind])
            assert fragment in result.stdout
    page = (report / "check.html").read_text()
    assert all(text.split(": ")[-1] in page for text in texts["leakage"])
    assert page.count("<img") > 30
    assert "http" not in page


SOUND = ["task=comic", "task=monet", "task=coloring", "task=sketch"]
REAL = [f"task={task} data.root={REAL_DATA / task}" for task in ("comic", "coloring")]


@pytest.mark.parametrize("arguments", [*SOUND, *(pytest.param(text, marks=pytest.mark.realdata) for text in REAL)])
def test_no_false_alarm(arguments: str, command: Command) -> None:
    text = succeeded(command("check", *arguments.split(), "strict=true")).stdout
    assert "Nothing wrong with" in text
    assert ("built-in sample" in text) == (arguments in SOUND)


def test_gray_targets_of_colored_inputs_look_swapped(comic_root: Path, command: Command, tmp_path: Path) -> None:
    for path in comic_root.glob("*/comics/*.png"):
        Image.open(path).convert("L").save(path)
    options = (f"data.root={comic_root}", f"output={tmp_path / 'r'}")
    assert succeeded(command("check", "task=comic", *options)).stdout.count("Warning:") == 1
    assert command("check", "task=comic", *options, "strict=true").returncode == 2
    assert list(found(tmp_path / "r")) == ["direction"]
    assert "Nothing wrong" in succeeded(command("check", "task=comic", *options, "data.direction=BtoA")).stdout
    succeeded(command("check", "task=coloring", "data.target_folder=comics", *options))  # to be colored
    assert found(tmp_path / "r") == {"gray": ["100% of the images."]}


def test_a_mistake_leaves_nothing_and_folders_that_are_no_split_are_named(
    comic_root: Path, command: Command, tmp_path: Path
) -> None:
    result = command("check", "data.root=/no/such/folder", f"output={tmp_path / 'r'}")
    assert result.returncode == 1
    assert "Error: data.root=/no/such/folder does not exist" in result.stderr
    assert not (tmp_path / "r").exists()
    (comic_root / "train").rename(comic_root / "training")
    result = command("check", "task=comic", f"data.root={comic_root}", f"output={tmp_path / 'r'}")
    assert result.returncode == 1
    assert ": training" in result.stdout + result.stderr
    assert list(found(tmp_path / "r")) == ["empty"]
