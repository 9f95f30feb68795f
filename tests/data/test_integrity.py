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
from image_translation.data import integrity
from image_translation.data.images import read_image
from image_translation.data.integrity import check_images, decode
from image_translation.data.sources import DerivedPairs, FolderPairs
from image_translation.data.sources.base import Pair


def jpeg(mode: str, **options: Any) -> bytes:
    """256×192 of noise that is smooth enough to look like a photo."""
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    large = Image.fromarray(noise).resize((256, 192), Image.Resampling.BICUBIC)
    large.convert(mode).save(buffer := io.BytesIO(), "JPEG", **options)
    return buffer.getvalue()


def problems(path: Path) -> list[str]:
    return decode(Pair("a", None, path), DerivedPairs(), "white").problems


@pytest.mark.parametrize("damage", ["a hole", "zeros to the end", "a lost sector"])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_damaged_jpeg_is_named(damage: str, mode: str, tmp_path: Path) -> None:
    path, content = tmp_path / "a.jpg", jpeg(mode, quality=95)
    first, second = content[: len(content) // 2], content[len(content) // 2 :]
    rest = {"a hole": bytes(2048) + second[2048:], "zeros to the end": bytes(len(second) - 2) + second[-2:],
            "a lost sector": second[512:]}  # fmt: skip
    path.write_bytes(first + rest[damage])
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


@pytest.mark.parametrize("form", ["MPO", "GIF", "TIFF", "WEBP", "PNG"])
def test_of_several_views_or_frames_the_first_counts(form: str, tmp_path: Path) -> None:
    """A stereo camera's MPO is a JPEG to every other program."""
    first, second = (Image.new("RGB", (16, 16), color) for color in ("red", "blue"))
    first.save(tmp_path / "a.jpg", form, save_all=True, append_images=[second])
    assert not problems(tmp_path / "a.jpg")
    decoded = np.asarray(read_image((tmp_path / "a.jpg").read_bytes(), "a.jpg", "white"))
    assert np.abs(decoded.astype(int) - (254, 0, 0)).max() <= 2


def fingerprint(root: Path) -> str:
    source = FolderPairs("face", "comics")
    return check_images(source.scan(root, 0, 0)[0], source, root, "white")[0]


def test_fingerprint_depends_on_content_and_split_only(tmp_path: Path) -> None:
    first = fingerprint(make_comic_root(tmp_path / "first"))
    second = make_comic_root(tmp_path / "second")
    assert fingerprint(second) == first
    for side in ("face", "comics"):
        (second / "val" / side / "val0.png").rename(second / "train" / side / "val0.png")
    moved = fingerprint(second)
    image(99).save(second / "train" / "face" / "train0.png")
    assert len({first, moved, fingerprint(second)}) == 3


def test_all_problems_are_reported_at_once(comic_root: Path) -> None:
    truncated = comic_root / "train" / "face" / "train1.png"
    truncated.write_bytes(truncated.read_bytes()[:-100])
    (comic_root / "val" / "comics" / "val0.png").write_text("not an image")
    image(7, (40, 32)).save(comic_root / "test" / "face" / "test2.png")
    with pytest.raises(UserError, match=r"^3 of the images can't be used") as error:
        fingerprint(comic_root)
    for text in ("train1.png: cannot be decoded", "val0.png: not an image", "test2.png is 40×32 but"):
        assert text in str(error.value)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the pairs that were decoded since it was cleared."""
    names = list[str]()
    monkeypatch.setattr(integrity, "decode", lambda pair, *more: names.append(pair.name) or decode(pair, *more))
    return names


def test_only_new_and_changed_files_are_decoded_again(comic_root: Path, decoded: list[str]) -> None:
    first = fingerprint(comic_root)
    assert len(decoded) == 12
    decoded.clear()
    assert fingerprint(comic_root) == first
    assert decoded == []
    image(99).save(comic_root / "train" / "face" / "train0.png")
    second = fingerprint(comic_root)
    for side in ("face", "comics"):
        image(100).save(comic_root / "train" / side / "new.png")
    third = fingerprint(comic_root)
    assert decoded == ["train0", "new"]
    assert len({first, second, third}) == 3


def test_what_is_wrong_is_never_remembered_but_the_others_are(comic_root: Path, decoded: list[str]) -> None:
    first = fingerprint(comic_root)
    decoded.clear()
    path = comic_root / "val" / "comics" / "val0.png"
    content = path.read_bytes()
    path.write_bytes(b"damaged!" + content[8:])
    os.utime(path, (0, 0))  # another time is enough, at the same size
    for _ in range(2):
        with pytest.raises(UserError, match=r"val0\.png"):
            fingerprint(comic_root)
    path.write_bytes(content)
    assert fingerprint(comic_root) == first
    assert decoded == ["val0"] * 3


def test_a_memory_that_is_damaged_is_made_anew(comic_root: Path, decoded: list[str]) -> None:
    whole = fingerprint(comic_root)
    for file in (Path(os.environ["XDG_CACHE_HOME"]) / "image_translation" / "checked").glob("*.json"):
        file.write_text(file.read_text()[:-5])
    assert [fingerprint(comic_root) for _ in range(2)] == [whole, whole]
    assert len(decoded) == 2 * 12
