from pathlib import Path

import numpy as np
import pytest
from conftest import image, make_comic_root
from PIL import Image

from image_translation.cli.errors import UserError
from image_translation.data.images import resize_image, split_halves
from image_translation.data.integrity import check_images
from image_translation.data.layout import Layout, Pair
from image_translation.data.pairs import find_pairs

COMIC = Layout("folders", "face", "comics")


def fingerprint(root: Path) -> str:
    return check_images(find_pairs(root, COMIC, 0, 0), COMIC)[0]


def test_crop_keeps_the_centre_and_squash_keeps_everything() -> None:
    stripes = Image.new("RGB", (96, 32), "red")
    stripes.paste("blue", (32, 0, 64, 32))
    cropped = np.asarray(resize_image(stripes, 32, "crop"))
    assert (cropped == (0, 0, 255)).all()
    squashed = np.asarray(resize_image(stripes, 96, "stretch"))
    assert squashed.shape == (96, 96, 3)
    assert squashed[48, 5].tolist() == squashed[48, 90].tolist() == [255, 0, 0]


def test_halves_of_an_aligned_image() -> None:
    both = Image.new("RGB", (8, 4), "red")
    both.paste("blue", (4, 0, 8, 4))
    a, b = split_halves(both, Layout("aligned"))
    assert (np.asarray(a) == (255, 0, 0)).all()
    assert (np.asarray(b) == (0, 0, 255)).all()
    assert split_halves(both, Layout("aligned", direction="BtoA")) == (b, a)


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
    (root / "val" / "comics" / "val0.png").write_text("not a image")
    image(7, (40, 32)).save(root / "test" / "face" / "test2.png")
    with pytest.raises(UserError) as error:
        fingerprint(root)
    text = str(error.value)
    assert text.startswith("3 of the images can't be used")
    assert "train1.png: cannot be decoded" in text
    assert "val0.png: not a image" in text
    assert "test2.png is 40×32 but" in text


def test_an_aligned_image_of_odd_width_is_refused(tmp_path: Path) -> None:
    image(1, (33, 16)).save(tmp_path / "odd.png")
    pair = Pair("odd", tmp_path / "odd.png", tmp_path / "odd.png")
    with pytest.raises(UserError, match=r"odd\.png: 33 pixels wide"):
        check_images({"train": [pair]}, Layout("aligned"))
