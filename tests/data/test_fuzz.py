"""Folders as nobody would make them on purpose: never a traceback, never a wrong pair."""

import io
import tempfile
import unicodedata
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from image_translation.checking.report import examine
from image_translation.cli.errors import UserError
from image_translation.data import PairedImageDataModule
from image_translation.data.images import read_image

SLOW = {"deadline": None, "suppress_health_check": list(HealthCheck)}
TWO_FORMS = ("ü", unicodedata.normalize("NFD", "ü"))
STEMS = ("a", "A", "a b", "a.b", "0", "00", *TWO_FORMS, "名", "-x", "con", "a'b\"", "%s{}$")
FORMATS = {".png": "PNG", ".PNG": "PNG", ".jpg": "JPEG", ".JPEG": "JPEG", ".webp": "WEBP", ".bmp": "BMP",
           ".tif": "TIFF", ".gif": "GIF"}  # fmt: skip
BROKEN = (b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"text", b"\xff\xd8\xff\xe0")


def encoded(stem: str, side: str, form: str, size: tuple[int, int] = (32, 32), **options: Any) -> bytes:
    """An image whose gray says which stem and side it is of."""
    number = [unicodedata.normalize("NFC", known) for known in STEMS].index(unicodedata.normalize("NFC", stem))
    array = np.full((size[1], size[0], 3), 20 + 16 * number + 8 * (side == "target"), np.uint8)
    if array.size > 3:
        array[0, 0] = 0  # not of one color
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, form, **({"lossless": True} if form == "WEBP" else {}) | options)
    return buffer.getvalue()


@st.composite
def contents(draw: st.DrawFn, stem: str, side: str, extension: str) -> bytes:
    if extension not in FORMATS or draw(st.integers(0, 9)) == 0:
        return draw(st.sampled_from(BROKEN))
    size = draw(st.sampled_from([(32, 32), (32, 32), (40, 32), (1, 1), (3, 200)]))
    content = encoded(stem, side, FORMATS[extension], size)
    return content[: draw(st.integers(0, len(content)))] if draw(st.integers(0, 9)) == 0 else content


@st.composite
def folders(draw: st.DrawFn) -> dict[str, Any]:
    """Paths below the root, and what is there: bytes, a link's target, or None for a folder."""
    tree: dict[str, Any] = {}
    places = st.sampled_from([["{}"], ["train/{}", "test/{}"], ["{}/train", "{}/val", "{}/test"], ["train/{}", "{}"]])
    sound = draw(st.booleans())  # mostly sound sets, so that many are trained on
    for place in draw(places):
        for stem in draw(st.lists(st.sampled_from(STEMS), max_size=6, unique=True)):
            for side in ("input", "target"):
                if sound or draw(st.integers(0, 6)):
                    extension = draw(st.sampled_from([*FORMATS, *([] if sound else [".txt", "", ".png.part"])]))
                    content = (
                        encoded(stem, side, FORMATS[extension]) if sound else draw(contents(stem, side, extension))
                    )
                    tree[f"{place.format(side)}/{stem}{extension}"] = content
        tree.setdefault(place.format("input"), None)
        if sound or draw(st.integers(0, 4)):
            tree.setdefault(place.format("target"), None)
    odd = ["input/.DS_Store", "input/Thumbs.db", "input/sub", "train", "val/input", "input/.hidden.png", "notes.txt"]
    for path in draw(st.lists(st.sampled_from(odd), max_size=2)):
        tree.setdefault(path, draw(st.sampled_from([None, b"x"])))
    if not sound and draw(st.integers(0, 4)) == 0:
        tree["input/link.png"] = draw(st.sampled_from(["nowhere", "..", "link.png", "../target"]))
    return tree


def build(root: Path, tree: dict[str, Any]) -> None:
    for name, content in sorted(tree.items()):
        path = root / name
        with suppress(FileExistsError, NotADirectoryError, IsADirectoryError):  # a file where a path wants a folder
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                path.mkdir(exist_ok=True)
            elif isinstance(content, str):
                path.symlink_to(content)
            else:
                path.write_bytes(content)


@settings(max_examples=60, **SLOW)
@given(folders(), st.sampled_from(["AtoB", "BtoA"]), st.sampled_from([0.0, 0.3]))
def test_any_folder_is_refused_in_words_or_paired_rightly(
    tree: dict[str, Any], direction: str, fraction: float
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder), tree)
        data = PairedImageDataModule("fuzz", folder, input_folder="input", target_folder="target", image_size=32,
                                     direction=direction, val_fraction=fraction, test_fraction=fraction)  # fmt: skip
        checked = refusal = None
        try:
            checked = examine(data)
        except UserError as error:
            refusal = error
        try:
            data.setup()
        except UserError:  # what training refuses, the check finds
            assert refusal or (checked and not checked.fingerprint and checked.findings)
            return
        assert checked
        assert checked.fingerprint == data.description["fingerprint"]
        for dataset in data.datasets.values():
            for item in (dataset[index] for index in range(len(dataset))):
                halves = [float(np.median(item[half])) for half in ("input", "target")]
                source, target = halves if direction == "AtoB" else halves[::-1]
                assert target - source == pytest.approx(8, abs=4), item["name"]


@settings(max_examples=300, **SLOW)
@given(
    st.sampled_from(sorted(set(FORMATS.values()))),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=20),
    st.integers(0, 60),
)
def test_damaged_bytes_are_an_image_or_an_error_in_words(form: str, changes: list[tuple[int, int]], cut: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {} if form in ("BMP", "GIF") else {"exif": exif}
    content = bytearray(encoded("a", "input", form, (24, 16), **options))
    for position, value in changes:
        content[position % len(content)] = value
    text = "file: "
    try:
        assert read_image(bytes(content[: len(content) - max(cut - 30, 0)]), "file").mode == "RGB"
    except UserError as error:
        text = str(error)
    assert text.startswith("file: ")
