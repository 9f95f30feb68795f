"""Files that Pillow would take, and that are no image or not a whole one."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REAL_DATA
from PIL import Image

from image_translation.cli.errors import UserError
from image_translation.data.images import read_image
from image_translation.data.integrity import check_images, decode
from image_translation.data.layout import Layout, Pair


def jpeg(mode: str = "RGB", **options: Any) -> bytes:
    """256×192 of noise that is smooth enough to look like a photo."""
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((256, 192), Image.Resampling.BICUBIC).convert(mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def problems(path: Path) -> list[str]:
    return decode("train", Pair("a", None, path), Layout("derived")).problems


def center_hole(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(2048) + content[middle + 2048 :]


def zeros_to_the_end(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(len(content) - middle - 2) + content[-2:]


def a_sector_lost(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + content[middle + 512 :]


@pytest.mark.parametrize("damage", [center_hole, zeros_to_the_end, a_sector_lost])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_with_a_hole_is_named(damage: Any, mode: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(damage(jpeg(mode, quality=95)))
    with Image.open(path) as image:
        image.load()  # Pillow says nothing
    (problem,) = problems(path)
    assert problem.startswith(f"{path}: damaged (Corrupt JPEG data")
    with pytest.raises(UserError, match=r"a\.jpg: damaged"):
        check_images({"train": [Pair("a", None, path)]}, Layout("derived"))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(
    "options",
    [{}, {"progressive": True}, {"optimize": True}, {"subsampling": 0}, {"subsampling": 1}, {"subsampling": 2},
     {"restart_marker_rows": 1}, {"quality": 100}, {"quality": 5}],
)  # fmt: skip
def test_no_kind_of_sound_jpeg_is_called_damaged(mode: str, options: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(mode, **options) + b"what cameras append")
    assert not problems(tmp_path / "a.jpg")


@pytest.mark.realdata
def test_no_real_jpeg_is_called_damaged() -> None:
    paths = sorted(REAL_DATA.rglob("*.jpg"))[::10]
    assert len(paths) > 100
    assert not [problem for path in paths for problem in problems(path)]


@pytest.mark.parametrize("form", ["EPS", "ICO", "PPM", "TGA", "PDF"])
def test_files_of_other_kinds_are_not_opened_whatever_their_name(form: str, tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), "red").save(tmp_path / "a.png", form)
    with pytest.raises(UserError, match=r"a\.png: not a image of a known kind \(PNG, JPEG, WEBP, TIFF, BMP, GIF\)"):
        read_image(tmp_path / "a.png")


def test_a_image_of_several_views_is_opened(tmp_path: Path) -> None:
    """A stereo camera's MPO, which is a JPEG to every other program."""
    left, right = (Image.new("RGB", (16, 16), color) for color in ("red", "blue"))
    left.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[right])
    assert not problems(tmp_path / "a.jpg")
    assert np.abs(np.asarray(read_image(tmp_path / "a.jpg")).astype(int) - (254, 0, 0)).max() <= 2
