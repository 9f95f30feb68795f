"""Predicting files: which, where to, and what becomes of those that can't be read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command, image, succeeded
from helpers.training import make_model
from PIL import Image

import image_translation
from image_translation.cli.console import per_second
from image_translation.cli.errors import UserError
from image_translation.data.kinds import KINDS, RGB
from image_translation.inference.files import predict_files
from image_translation.inference.planning import Job, find_files, plan
from image_translation.inference.predictor import Predictor
from image_translation.models import Identity


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Files of several kinds and sizes, in two folders; one of them is no image."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    image(1, (50, 40)).save(folder / "a.png")
    image(2, (50, 40)).save(folder / "b.JPG", quality=95)
    image(3, (30, 70)).save(folder / "sub" / "c.webp", lossless=True)
    image(4, (50, 40)).save(folder / "sub" / "d.tif")
    (folder / "notes.txt").write_text("a.png\n\nsub/c.webp\n")
    (folder / ".hidden.png").write_bytes(b"")
    return folder


def names(source: object) -> list[str]:
    return [place.as_posix() for _, place in find_files(str(source))]


def test_what_input_may_be(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert names(photos) == ["a.png", "b.JPG", "sub/c.webp", "sub/d.tif"]
    assert names(photos / "a.png") == ["a.png"]
    assert names(photos / "*.png") == ["a.png"]
    assert names(photos / "**" / "*.[wt]*") == ["sub/c.webp", "sub/d.tif"]
    assert names(photos / "s*" / "*") == ["sub/c.webp", "sub/d.tif"]
    assert names(photos / "notes.txt") == ["a.png", "sub/c.webp"]
    monkeypatch.chdir(photos)
    assert names("*") == ["a.png", "b.JPG"]
    assert names("sub/*.webp") == ["c.webp"]
    for nothing in ("none", "*.gif", "none/*.png", "sub/none.png"):
        with pytest.raises(UserError, match="no image there"):
            find_files(nothing)


def test_files_of_other_kinds_are_counted(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a.HEIC", "sub/b.HEIC", "c.avif", ".hidden.xyz"):
        (photos / name).write_bytes(b"")
    find_files(str(photos))
    assert "2 .HEIC" in caplog.text
    assert "1 .avif" in caplog.text
    assert ".xyz" not in caplog.text


def test_a_list_of_files_in_several_folders(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative to the list, absolute or both; with the mark that Windows puts in front."""
    (photos / "lists").mkdir()
    listed = photos / "lists" / "all.txt"
    listed.write_text(f"../a.png\n{photos / 'sub' / 'c.webp'}\n", encoding="utf-8-sig")
    monkeypatch.chdir(photos)
    assert names("lists/all.txt") == ["a.png", "sub/c.webp"]


def test_inputs_are_never_overwritten(photos: Path) -> None:
    for source in (photos / "*.png", photos / "a.png", photos / "notes.txt"):
        with pytest.raises(UserError, match=r"Inputs would be overwritten:\s.*a\.png"):
            plan(str(source), photos, "same", "overwrite")


def targets(photos: Path, form: str, if_exists: str = "refuse") -> list[str]:
    output = photos.parent / "out"
    jobs = plan(str(photos), output, form, if_exists)
    return [job.target.relative_to(output).as_posix() for job in jobs]


def test_names_are_kept(photos: Path) -> None:
    image(1).save(photos / "e.gif")
    assert targets(photos, "same") == ["a.png", "b.JPG", "e.png", "sub/c.webp", "sub/d.tif"]
    assert targets(photos, "jpg") == ["a.jpg", "b.jpg", "e.jpg", "sub/c.jpg", "sub/d.jpg"]
    image(1).save(photos / "a.bmp")
    with pytest.raises(UserError, match=r"a\.png of .*a\.bmp and .*a\.png"):
        targets(photos, "png")


@pytest.mark.parametrize(("kind", "form", "others"), [
    ("mask", "jpg", ".png"), ("grey16", "webp", ".png"), ("raw", "png", ".npy"), ("rgba", "jpg", ".png"),
])  # fmt: skip
def test_a_format_that_cannot_hold_the_outputs_is_refused(photos: Path, kind: str, form: str, others: str) -> None:
    kinds = RGB, KINDS[kind]
    with pytest.raises(
        UserError, match=rf"format={form} can't hold .*data.target={kind}.* format=tiff can, .*{others}"
    ):
        plan(str(photos), photos.parent / "out", form, "refuse", kinds)
    for fitting, suffixes in (("tiff", {".tiff"}), ("same", {others, ".tif"})):
        jobs = plan(str(photos), photos.parent / "out", fitting, "refuse", kinds)
        assert {job.target.suffix for job in jobs} == suffixes


@pytest.mark.parametrize(("count", "seconds", "text"), [(3011, 20, "150.6"), (1, 30, "0.033"), (4000, 1, "4000")])
def test_a_rate_is_a_plain_number(count: int, seconds: float, text: str) -> None:
    assert per_second(count, seconds) == text


def test_nothing_is_overwritten_unless_asked(photos: Path) -> None:
    (photos.parent / "out").mkdir()
    (photos.parent / "out" / "a.png").write_text("mine")
    with pytest.raises(UserError, match=r"1 of 4 files exist in .*a\.png.*if_exists=skip"):
        targets(photos, "same")
    assert targets(photos, "same", "skip") == ["b.JPG", "sub/c.webp", "sub/d.tif"]
    assert targets(photos, "same", "overwrite") == ["a.png", "b.JPG", "sub/c.webp", "sub/d.tif"]


def run(model: Any, jobs: Sequence[Job], **options: Any) -> list[str]:
    """What is wrong with files, after all that can be are done."""
    messages = list(predict_files(Predictor(model), jobs, **options))
    assert len(messages) == len(jobs)
    return [message for message in messages if message]


def test_files_become_what_predict_returns(photos: Path, name: str) -> None:
    model = make_model(name).eval()
    jobs = plan(str(photos), photos.parent / "out", "png", "refuse")
    assert not run(model, jobs)
    for job in jobs:
        with Image.open(job.source) as source, Image.open(job.target) as target:
            expected = np.asarray(model.predict(source)).astype(int)
            assert np.abs(np.asarray(target) - expected).max() <= 1  # batches of several


def test_a_damaged_file_is_named_and_the_others_are_done(photos: Path) -> None:
    (photos / "b.JPG").write_bytes((photos / "b.JPG").read_bytes()[:200])
    (photos / "text.png").write_text("no image")
    failed = run(Identity(), plan(str(photos), photos.parent / "out", "same", "refuse"))
    assert [Path(message.partition(":")[0]).name for message in sorted(failed)] == ["b.JPG", "text.png"]
    assert sorted(path.name for path in (photos.parent / "out").rglob("*.*")) == ["a.png", "c.webp", "d.tif"]


def test_a_folder_in_python(photos: Path) -> None:
    model = make_model("autoencoder").eval()
    assert image_translation.predict_folder(model, photos, photos.parent / "out", form="png", size=32) == 4
    with Image.open(photos / "a.png") as source, Image.open(photos.parent / "out" / "a.png") as target:
        expected = np.asarray(model.predict(source, size=32)).astype(int)
        assert np.abs(np.asarray(target) - expected).max() <= 1
    with pytest.raises(UserError, match="4 of 4 files exist"):
        image_translation.predict_folder(model, photos, photos.parent / "out", form="png")
    with pytest.raises(UserError, match="if_exists must be one of"):
        image_translation.predict_folder(model, photos, photos.parent / "out", if_exists="never")
    (photos / "text.png").write_text("no image")
    with pytest.raises(UserError, match=r"1 of 5 files were not predicted:\s.*text\.png: not an image"):
        image_translation.predict_folder(model, photos, photos.parent / "other")


def test_transparency_and_orientation(tmp_path: Path) -> None:
    clear = image(1, (50, 40)).convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize((50, 40)))
    clear.save(tmp_path / "clear.png")
    turned = image(2, (50, 40))
    turned.getexif()[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=turned.getexif())
    files = str(tmp_path / "*.png")
    run(Identity(), plan(files, tmp_path / "keep", "same", "refuse"))
    run(Identity(), plan(files, tmp_path / "drop", "same", "refuse"), transparency="drop")
    run(Identity(), plan(files, tmp_path / "both", "same", "refuse"), side_by_side=True)
    kept, dropped, both = (Image.open(tmp_path / folder / "clear.png") for folder in ("keep", "drop", "both"))
    assert (kept.mode, dropped.mode, kept.size, both.size) == ("RGBA", "RGB", (50, 40), (100, 40))
    assert np.array_equal(kept.getchannel("A"), clear.getchannel("A"))
    assert np.array_equal(np.asarray(kept)[..., :3], dropped)
    assert np.array_equal(np.asarray(both)[:, 50:], kept)
    assert Image.open(tmp_path / "keep" / "turned.png").size == (40, 50)


def test_the_command(finished_run: Path, photos: Path, command: Command, tmp_path: Path) -> None:
    output = tmp_path / "out"
    arguments = ["predict", f"run={finished_run}", f"input={photos}", f"output={output}", "device=cpu"]
    (photos / "text.png").write_text("no image")
    result = command(*arguments)
    assert result.returncode == 1
    assert f"{output}: 4 files, " in result.stdout
    assert "1 of 5 files were not predicted:" in result.stderr
    assert "text.png: not an image" in result.stderr
    (photos / "text.png").unlink()
    (output / "a.png").unlink()
    again = command(*arguments)
    assert again.returncode == 1
    assert "3 of 4 files exist" in again.stderr
    assert f"{output}: 1 files, " in succeeded(command(*arguments, "if_exists=skip")).stdout
    assert "all files are there already" in succeeded(command(*arguments, "if_exists=skip")).stdout
    inside = command(*arguments[:3], f"output={photos / 'out'}")
    assert inside.returncode == 1
    assert "is inside input=" in inside.stderr
    assert not list(tmp_path.joinpath("cwd").iterdir())
