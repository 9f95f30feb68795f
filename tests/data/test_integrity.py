"""Files that Pillow would take although they are damaged or not an image; and the memory of what was checked."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REAL_DATA, image, make_comic_root
from PIL import Image

from image_translation.cli.errors import UserError
from image_translation.data.images import read_image
from image_translation.data.integrity import check_images, decode
from image_translation.data.sources import AlignedPairs, DerivedPairs, FolderPairs
from image_translation.data.sources.base import Pair


def jpeg(mode: str = "RGB", **options: Any) -> bytes:
    """256×192 of noise that is smooth enough to look like a photo."""
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((256, 192), Image.Resampling.BICUBIC).convert(mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def problems(path: Path) -> list[str]:
    return decode("train", Pair("a", None, path), DerivedPairs(), "white").problems


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
    with pytest.raises(UserError, match=r"a\.png: not an image of a known kind \(PNG, JPEG, WEBP, TIFF, BMP, GIF\)"):
        read_image(tmp_path / "a.png")


def test_an_image_of_several_views_is_opened(tmp_path: Path) -> None:
    """A stereo camera's MPO, which is a JPEG to every other program."""
    left, right = (Image.new("RGB", (16, 16), color) for color in ("red", "blue"))
    left.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[right])
    assert not problems(tmp_path / "a.jpg")
    assert np.abs(np.asarray(read_image(tmp_path / "a.jpg")).astype(int) - (254, 0, 0)).max() <= 2


def test_an_aligned_image_of_odd_width_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.png"
    image(1, (33, 16)).save(path)
    with pytest.raises(UserError, match=r"odd\.png: 33 pixels wide"):
        check_images({"train": [Pair("odd", path, path)]}, AlignedPairs(), tmp_path, "white")


def fingerprint(root: Path) -> str:
    source = FolderPairs("face", "comics")
    return check_images(source.scan(root, 0, 0)[0], source, root, "white")[0]


def test_fingerprint_depends_on_content_and_split_only(tmp_path: Path) -> None:
    first = fingerprint(make_comic_root(tmp_path / "first"))
    second = make_comic_root(tmp_path / "second")
    assert fingerprint(second) == first
    (second / "val" / "face" / "val0.png").rename(second / "train" / "face" / "val0.png")
    (second / "val" / "comics" / "val0.png").rename(second / "train" / "comics" / "val0.png")
    moved = fingerprint(second)
    image(99).save(second / "train" / "face" / "train0.png")
    assert len({first, moved, fingerprint(second)}) == 3


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    root = make_comic_root(tmp_path / "pairs")
    truncated = root / "train" / "face" / "train1.png"
    truncated.write_bytes(truncated.read_bytes()[:-100])
    (root / "val" / "comics" / "val0.png").write_text("not an image")
    image(7, (40, 32)).save(root / "test" / "face" / "test2.png")
    with pytest.raises(UserError) as error:
        fingerprint(root)
    text = str(error.value)
    assert text.startswith("3 of the images can't be used")
    assert "train1.png: cannot be decoded" in text
    assert "val0.png: not an image" in text
    assert "test2.png is 40×32 but" in text


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What Pillow was asked to open."""
    files: list[object] = []
    original = Image.open

    def counted(file: Any, *args: Any, **kwargs: Any) -> Any:
        files.append(file)
        return original(file, *args, **kwargs)

    monkeypatch.setattr(Image, "open", counted)
    return files


def test_only_new_and_changed_files_are_decoded_again(comic_root: Path, opened: list[object]) -> None:
    first = fingerprint(comic_root)
    assert len(opened) >= 24  # 12 pairs
    opened.clear()
    assert fingerprint(comic_root) == first
    assert not opened
    image(99).save(comic_root / "train" / "face" / "train0.png")
    second = fingerprint(comic_root)
    assert second != first
    per_pair = len(opened)
    assert 2 <= per_pair <= 4  # one pair, and each of its files at most for its kind and its pixels
    for side in ("face", "comics"):
        image(100).save(comic_root / "train" / side / "new.png")
    assert fingerprint(comic_root) != second
    assert len(opened) == 2 * per_pair


def test_a_file_of_the_same_size_and_another_time_is_decoded_again(comic_root: Path, opened: list[object]) -> None:
    path = comic_root / "val" / "comics" / "val0.png"
    fingerprint(comic_root)
    content = path.read_bytes()
    path.write_bytes(b"damaged!" + content[8:])
    os.utime(path, (0, 0))
    for _ in range(2):  # what is wrong is never remembered
        with pytest.raises(UserError, match=r"val0\.png"):
            fingerprint(comic_root)
    path.write_bytes(content)
    opened.clear()
    fingerprint(comic_root)
    assert 2 <= len(opened) <= 4  # the others were remembered although one was wrong


def test_a_memory_that_is_damaged_is_made_anew(comic_root: Path, opened: list[object]) -> None:
    first = fingerprint(comic_root)
    for file in (Path(os.environ["XDG_CACHE_HOME"]) / "image_translation" / "checked").glob("*.json"):
        file.write_text(file.read_text()[:-5])
    opened.clear()
    assert fingerprint(comic_root) == first
    assert opened
    opened.clear()
    fingerprint(comic_root)
    assert not opened
