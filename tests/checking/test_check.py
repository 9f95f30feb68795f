"""`check` on sets into which faults were planted: each is found and named, and nothing else."""

import json
import re
import shutil
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REAL_DATA, TINY, Command, succeeded
from PIL import Image, ImageOps

from image_translation.data.sample import sample_folder

KINDS = ("orphan", "double stem", "broken link", "truncated", "no image", "halves of different size", "leak",
         "nearly the same in two splits", "flipped in two splits", "twice in one split", "shifted", "flipped",
         "wrong partner", "one color", "gray", "same halves", "empty split")  # fmt: skip


def plant(root: Path) -> dict[str, list[str]]:
    """One fault of each of ``KINDS`` in a set of the task comic; what the findings of each kind must name."""
    faces, drawings = root / "train" / "face", root / "train" / "comics"
    names = iter(sorted(path.name for path in faces.iterdir()))

    def rewrite(path: Path, change: Callable[[Image.Image], Image.Image]) -> None:
        with Image.open(path) as image:
            changed = change(image.convert("RGB"))
        changed.save(path)

    def copy(name: str, to: str, change: Callable[[Image.Image], Image.Image] = lambda image: image) -> str:
        for side in ("face", "comics"):
            target = root / to / side / f"copy_of_{name}"
            shutil.copy(root / "train" / side / name, target)
            rewrite(target, change)
        stem = Path(name).stem
        both = [f"train/{stem}", f"{to}/copy_of_{stem}"]
        return ", ".join(both if to == "test" else sorted(both))

    def again(image: Image.Image) -> Image.Image:
        """Scaled and compressed."""
        small = image.resize((image.width * 3 // 4, image.height * 3 // 4), Image.Resampling.LANCZOS)
        path = root / "again.jpg"
        small.save(path, quality=60)
        with Image.open(path) as read:
            enlarged = read.resize(image.size, Image.Resampling.BICUBIC)
        path.unlink()
        return enlarged

    def moved(image: Image.Image) -> Image.Image:
        """12 pixels right and 7 down."""
        array = np.asarray(image)
        return Image.fromarray(np.pad(array, ((7, 0), (12, 0), (0, 0)), mode="edge")[:-7, :-12])

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
    expected["unusable"].append(f"{path}: cannot be decoded")
    (path := faces / next(names)).write_text("no image")
    expected["unusable"].append(f"{path}: not a image")
    rewrite(path := faces / next(names), lambda image: image.resize((200, 256)))
    expected["unusable"].append(f"{path} is 200×256 but")
    expected["leak"].append(f"{copy(next(names), 'test')}: input and target the same")
    expected["leak"].append(f"{copy(next(names), 'test', again)}: input and target nearly the same")
    expected["leak"].append(f"{copy(next(names), 'test', ImageOps.hflip)}: input and target")
    expected["twice"].append(copy(next(names), "train"))
    rewrite(drawings / (name := next(names)), moved)
    expected["perhaps shifted"].append(f"train/{Path(name).stem}: the target lies")
    rewrite(drawings / (name := next(names)), ImageOps.hflip)
    expected["flipped"].append(f"train/{Path(name).stem}")
    one, other = drawings / next(names), drawings / next(names)
    one.rename(root / "one.png")
    other.rename(one)
    (root / "one.png").rename(other)
    expected["wrong partner"] += [f"train/{path.stem}: " for path in (one, other)]
    rewrite(drawings / (name := next(names)), lambda image: Image.new("RGB", image.size, "white"))
    expected["one color"].append(f"train/{Path(name).stem}: target")
    rewrite(faces / (name := next(names)), lambda image: image.convert("L").convert("RGB"))
    expected["gray"].append(f"train/{Path(name).stem}: input")
    shutil.copy(faces / (name := next(names)), drawings / name)
    expected["same halves"].append(f"train/{Path(name).stem}")
    return expected


def found(folder: Path) -> dict[str, list[str]]:
    """The texts of a report's findings, by kind."""
    texts: dict[str, list[str]] = defaultdict(list)
    for finding in json.loads((folder / "check.json").read_text())["findings"]:
        texts[finding["kind"]].append(finding["text"])
    return texts


SETS = [
    pytest.param(lambda: sample_folder("comic"), id="sample"),
    pytest.param(lambda: REAL_DATA / "comic", id="real", marks=pytest.mark.realdata),
]


@pytest.mark.parametrize("source", SETS)
def test_every_planted_fault_is_found_and_nothing_else(
    source: Callable[[], Path], command: Command, tmp_path: Path
) -> None:
    root = shutil.copytree(source(), tmp_path / "pairs")
    expected = plant(root)
    options = ("task=comic", f"data.root={root}", "data.val_fraction=0", f"output={tmp_path / 'report'}")
    result = command("check", *options)
    assert result.returncode == 1, result.stderr
    texts = found(tmp_path / "report")
    assert {kind: len(there) for kind, there in texts.items()} == {kind: len(there) for kind, there in expected.items()}
    for kind, fragments in expected.items():
        for fragment in fragments:
            assert any(fragment in text for text in texts[kind]), (kind, fragment, texts[kind])
    (offset,) = (re.search(r"(\d+) pixels right and (\d+) pixels down", text) for text in texts["perhaps shifted"])
    assert offset
    assert [int(pixels) for pixels in offset.groups()] == pytest.approx(
        [12, 7], abs=4
    )  # real pairs are 3 off as they are
    assert sum(", flipped" in text for text in texts["leak"]) == 1
    for fragment in (fragment for fragments in expected.values() for fragment in fragments):
        assert fragment.replace("\n", "") in result.stdout, fragment
    page = (tmp_path / "report" / "check.html").read_text()
    assert page.count("<li>") > 20
    assert "http" not in page.replace("http://www.w3.org", "")


@pytest.mark.realdata
@pytest.mark.parametrize("task", ["comic", "coloring"])
def test_no_false_alarm_on_real_pairs(task: str, command: Command, tmp_path: Path) -> None:
    result = command(
        "check", f"task={task}", f"data.root={REAL_DATA / task}", "strict=true", f"output={tmp_path / 'r'}"
    )
    assert "Nothing wrong with" in succeeded(result).stdout
    assert not found(tmp_path / "r")


@pytest.mark.parametrize("task", ["comic", "monet", "coloring", "sketch"])
def test_no_false_alarm_on_the_sample(task: str, command: Command, tmp_path: Path) -> None:
    result = succeeded(command("check", f"task={task}", "strict=true", f"output={tmp_path / 'r'}"))
    assert "Nothing wrong with 48 pairs" in result.stdout
    assert "built-in sample" in result.stdout


def test_grey_targets_of_colored_inputs_look_swapped(comic_root: Path, command: Command, tmp_path: Path) -> None:
    for path in comic_root.glob("*/comics/*.png"):
        Image.open(path).convert("L").save(path)
    options = ("task=comic", f"data.root={comic_root}", f"output={tmp_path / 'r'}")
    assert succeeded(command("check", *options)).stdout.count("Warning:") == 1
    assert command("check", *options, "strict=true").returncode == 2
    assert list(found(tmp_path / "r")) == ["direction"]
    assert "Nothing wrong" in succeeded(command("check", *options, "data.direction=BtoA")).stdout


def test_the_fingerprint_is_the_runs(comic_root: Path, command: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    succeeded(command("train", *TINY, "model=identity", f"data.root={comic_root}", f"hydra.run.dir={run}"))
    succeeded(command("check", "task=comic", f"data.root={comic_root}", f"output={tmp_path / 'r'}"))
    checked: Any = json.loads((tmp_path / "r" / "check.json").read_text())
    manifest = json.loads((run / "run.json").read_text())
    assert checked["fingerprint"] == manifest["data"]["fingerprint"]
    assert checked["counts"] == manifest["data"]["counts"]


def test_somebody_elses_page_is_not_overwritten(comic_root: Path, command: Command, tmp_path: Path) -> None:
    (tmp_path / "check.html").write_text("mine")
    result = command("check", "task=comic", f"data.root={comic_root}", f"output={tmp_path}")
    assert result.returncode == 1
    assert "name another folder" in result.stderr
    assert (tmp_path / "check.html").read_text() == "mine"


@pytest.mark.parametrize("task", ["comic", "monet"])
def test_a_set_that_is_paired_by_sort_order(task: str, command: Command, tmp_path: Path) -> None:
    """Every target is its neighbor's."""
    root = shutil.copytree(sample_folder(task), tmp_path / "pairs")
    folder = root / "train" / {"comic": "comics", "monet": "monet"}[task]
    names = sorted(path.name for path in folder.iterdir())
    folder.rename(root / "before")
    folder.mkdir()
    for name, other in zip(names, names[1:] + names[:1], strict=True):
        shutil.copy(root / "before" / name, folder / other)
    shutil.rmtree(root / "before")
    result = command("check", f"task={task}", f"data.root={root}", f"output={tmp_path / 'r'}")
    assert result.returncode == 1
    assert len(found(tmp_path / "r")["wrong partner"]) > 20


def test_a_set_that_is_mirrored(command: Command, tmp_path: Path) -> None:
    root = shutil.copytree(sample_folder("comic"), tmp_path / "pairs")
    for path in root.glob("*/comics/*.png"):
        ImageOps.hflip(Image.open(path)).save(path)
    assert command("check", "task=comic", f"data.root={root}", f"output={tmp_path / 'r'}").returncode == 1
    assert len(found(tmp_path / "r")["flipped"]) > 40


def test_masks_may_be_the_same(comic_root: Path, command: Command, tmp_path: Path) -> None:
    mask = Image.new("L", (64, 64))
    mask.paste(255, (16, 16, 48, 48))
    for path in comic_root.glob("*/comics/*.png"):
        mask.save(path)
    succeeded(command("check", "task=comic", f"data.root={comic_root}", f"output={tmp_path / 'r'}"))
    assert "leak" not in found(tmp_path / "r")
    assert "same target" in found(tmp_path / "r")


def test_folders_that_are_no_split_are_named(comic_root: Path, command: Command, tmp_path: Path) -> None:
    (comic_root / "train").rename(comic_root / "training")
    result = command("check", "task=comic", f"data.root={comic_root}", f"output={tmp_path / 'r'}")
    assert result.returncode == 1
    assert "ignored folders that are not train, val or test: training" in result.stdout + result.stderr
    assert list(found(tmp_path / "r")) == ["empty"]


def test_grey_photos_to_be_colored(comic_root: Path, command: Command, tmp_path: Path) -> None:
    for path in comic_root.glob("*/face/*.png"):
        Image.open(path).convert("L").save(path)
    options = ("task=coloring", "data.target_folder=face", f"data.root={comic_root}", f"output={tmp_path / 'r'}")
    succeeded(command("check", *options))
    assert found(tmp_path / "r")["gray"] == ["12 of 12 images, which is most of them."]
