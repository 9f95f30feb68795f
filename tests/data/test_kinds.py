"""Kinds of image: from file to device and back, against numpy by hand."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from conftest import SIZE
from helpers.training import fit
from PIL import Image
from recorder import Recorder, datamodule

from image_translation.callbacks.panels import GAP, draw_panel
from image_translation.cli.errors import UserError
from image_translation.data.kinds import KINDS, Kind, complete, make_kind, to_shown
from image_translation.data.transforms import random_crop, to_float, to_stored
from image_translation.data.values import encode, read, resized

RNG = np.random.default_rng(0)
DEEP = RNG.integers(0, 65536, (SIZE, SIZE, 3), dtype=np.uint16)
CLASSES = RNG.integers(0, 4, (SIZE, SIZE), dtype=np.uint8)
FIVE = RNG.normal(0, 1, (SIZE, SIZE, 5)).astype(np.float32)
imagecodecs = pytest.importorskip("imagecodecs")


def png(array: Any) -> bytes:
    Image.fromarray(array).save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


def jpeg(array: Any) -> bytes:
    Image.fromarray(array).save(buffer := io.BytesIO(), "JPEG")
    return buffer.getvalue()


def as_read(content: bytes) -> Any:
    return np.atleast_3d(np.asarray(Image.open(io.BytesIO(content))))


def npy(array: Any) -> bytes:
    np.save(buffer := io.BytesIO(), array)
    return buffer.getvalue()


def tiff(array: Any, **options: Any) -> bytes:
    tifffile.imwrite(buffer := io.BytesIO(), array, **options)
    return buffer.getvalue()


def values(content: bytes, kind: Kind) -> Any:
    array = np.asarray(read(content, Path("it"), kind, "white"))
    return array[..., None] if array.ndim == 2 else array


MASK = make_kind("target", "mask", 4, None, None)
LABELED = make_kind("target", "mask", 4, None, None, ignore=255)
RAW = make_kind("target", "raw", None, [-2, 2], None)
HIGH = (DEEP >> 8).astype(np.uint8)
FILES = {
    "gray of a gray file": ("grey", png(HIGH[..., 0]), HIGH[..., :1]),
    "gray of 16 bits": ("grey16", png(DEEP[..., 0]), DEEP[..., :1]),
    "gray of 8 bits in 16": ("grey16", png(HIGH[..., 0]), HIGH[..., :1].astype(np.uint16) * 257),
    "gray of 16 bits, TIFF": ("grey16", tiff(DEEP[..., 0]), DEEP[..., :1]),
    "color of 16 bits": ("rgb16", imagecodecs.png_encode(DEEP), DEEP),
    "color of 16 bits, compressed TIFF": ("rgb16", tiff(DEEP, photometric="rgb", compression="lzw"), DEEP),
    "color of 16 bits, planar TIFF": (
        "rgb16",
        tiff(np.moveaxis(DEEP, -1, 0), photometric="rgb", planarconfig="separate"),
        DEEP,
    ),
    "alpha": ("rgba", png(np.dstack([HIGH, HIGH[..., 0]])), np.dstack([HIGH, HIGH[..., 0]])),
    "mask": ("mask", png(CLASSES), CLASSES[..., None]),
    "mask in three equal channels": ("mask", png(np.repeat(CLASSES[..., None], 3, -1)), CLASSES[..., None]),
    "gray JPEG in 16 bits": ("grey16", jpeg(HIGH[..., 0]), as_read(jpeg(HIGH[..., 0])).astype(np.uint16) * 257),
    "raw floats": ("raw", npy(FIVE), FIVE),
    "raw doubles of one channel": ("raw", npy(FIVE[..., 0].astype(np.float64)), FIVE[..., :1]),
    "raw pages": ("raw", tiff(np.moveaxis(FIVE, -1, 0), photometric="minisblack"), FIVE),
    "raw 16 bits": ("raw", tiff(DEEP), DEEP),
}


@pytest.mark.parametrize("case", FILES)
def test_files_have_their_values(case: str) -> None:
    name, content, expected = FILES[case]
    found = values(content, {"mask": MASK, "raw": RAW}.get(name, KINDS[name]))
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected)


def test_a_palette_image_is_a_mask_of_its_indices() -> None:
    image = Image.fromarray(CLASSES)
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    image.save(buffer := io.BytesIO(), "PNG")
    assert np.array_equal(values(buffer.getvalue(), MASK)[..., 0], CLASSES)


@pytest.mark.parametrize(("kind", "content", "message"), [
    (MASK, png(CLASSES + 1), "it: has the class 4, which data.classes=4 does not allow"),
    (MASK, png(CLASSES // 2 * 255), "Divide masks of 0 and 255 by 255."),
    (MASK, png(np.where(CLASSES, CLASSES, 255)), "If these pixels are of no class: data.ignore=255."),
    (LABELED, png(CLASSES + 60), "it: has the class 63, which data.classes=4 does not allow. Number classes from 0 on"),
    (MASK, png(HIGH), "it: has colors; a mask is a gray or palette image"),
    (MASK, png(HIGH), "Write each color's number in its place: mask[(colors == color).all(-1)] = number"),
    (KINDS["grey16"], imagecodecs.png_encode(DEEP), "it: grey16 has 1 of 8 or 16 bits; found 3 channels of uint16"),
    (KINDS["grey16"], jpeg(HIGH), "it: grey16 has 1 of 8 or 16 bits; found 3 channels of uint8. Convert it, or say"),
    (KINDS["grey16"], jpeg(HIGH), "reads any file in 8 bits)."),
    (KINDS["rgb16"], tiff(FIVE[..., :3]), "it: rgb16 has 3 of 8 or 16 bits; found 3 channels of float32"),
    (RAW, npy(np.full((3, 3), np.nan)), "it: has values that are NaN or infinite"),
    (RAW, npy(np.moveaxis(FIVE, -1, 0)), "(5, 64, 64); if its channels come first, save np.moveaxis(array, 0, -1)"),
    (RAW, npy(np.zeros((2, 2, 2, 2))), "it: expected height × width × channels of numbers, found (2, 2, 2, 2)"),
    (RAW, npy(np.array([["a"]])), "it: expected height × width × channels of numbers"),
    (RAW, npy(FIVE)[:200], "it: cannot be decoded"),
    (RAW, npy(np.array([[object()]])), "it: cannot be decoded"),  # which would hold code
    (RAW, tiff(np.zeros((2, 3, 8, 8), np.uint8)), "it: its axes are"),
    (KINDS["grey16"], b"text", "it: not an image of a known kind"),
])  # fmt: skip
def test_what_is_not_of_a_kind_is_refused_by_name(kind: Kind, content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        read(content, Path("it"), kind, "white")


def batch(array: Any) -> torch.Tensor:
    return torch.from_numpy(np.array(array)).permute(2, 0, 1)[None]


@pytest.mark.parametrize(("kind", "array", "low", "high"), [
    (KINDS["rgb"], HIGH, 0, 255), (KINDS["grey16"], DEEP[..., :1], 0, 65535), (KINDS["rgb16"], DEEP, 0, 65535),
    (complete(RAW, "target", {(5, "float32")}), FIVE.clip(-2, 2), -2, 2),
])  # fmt: skip
def test_values_are_scaled_by_their_range_and_come_back(kind: Kind, array: Any, low: float, high: float) -> None:
    stored = batch(array)
    floats = to_float(stored, kind)
    expected = (array.astype(np.float64) - low) / (high - low) * 2 - 1
    assert np.allclose(floats[0].permute(1, 2, 0).numpy(), expected, atol=1e-6)
    assert to_stored(floats, kind).dtype == stored.dtype
    assert np.allclose(to_stored(floats, kind).double(), stored.double(), atol=1e-6 * (high - low))
    assert to_stored(floats * 3, kind).double().aminmax() == (low, high)
    (cropped,) = random_crop(stored, size=(SIZE, SIZE), hflip=False, kinds=[kind])
    assert torch.equal(cropped, floats)


def test_a_mask_is_one_channel_for_each_class_and_the_likeliest_comes_back() -> None:
    stored = batch(CLASSES[..., None])
    floats = to_float(stored, MASK)
    assert floats.shape == (1, 4, SIZE, SIZE)
    assert np.array_equal(floats[0].numpy(), np.stack([2.0 * (c == CLASSES) - 1 for c in range(4)]))
    assert torch.equal(to_stored(floats + 0.3 * torch.rand_like(floats), MASK), stored)
    (flipped,) = random_crop(stored.flip(-1), size=(SIZE, SIZE), hflip=False, kinds=[MASK])
    assert torch.equal(flipped.flip(-1), floats)


def test_masks_are_resized_by_the_nearest_pixel_and_others_smoothly() -> None:
    mask = Image.fromarray(CLASSES)
    small = np.asarray(resized(mask, MASK, 24, 40, "stretch"))
    assert np.array_equal(small, np.asarray(mask.resize((40, 24), Image.Resampling.NEAREST)))
    smooth = np.add.outer(np.arange(SIZE), np.arange(SIZE)).astype(np.uint16)[..., None] * 400
    half = resized(smooth, KINDS["grey16"], SIZE // 2, SIZE // 2, "crop")
    assert isinstance(half, np.ndarray)
    assert half.dtype == np.uint16
    expected = smooth.reshape(SIZE // 2, 2, SIZE // 2, 2).mean((1, 3))
    assert np.abs(half[2:-2, 2:-2, 0] - expected[2:-2, 2:-2]).max() <= 1


def test_what_is_shown() -> None:
    assert torch.equal(to_shown(batch(DEEP[..., :1]), KINDS["grey16"])[0, 2].float(), (batch(DEEP)[0, 0] / 257).round())
    raw = complete(make_kind("input", "raw", None, [-2, 2], [4, 0, 1]), "input", {(5, "float32")})
    expected = ((FIVE[..., [4, 0, 1]].clip(-2, 2) + 2) / 4 * 255).round()
    assert np.abs(to_shown(batch(FIVE), raw)[0].permute(1, 2, 0).numpy() - expected).max() <= 1
    colors = to_shown(batch(CLASSES[..., None]), MASK)[0].permute(1, 2, 0).numpy()
    of_class = [{tuple(color) for color in colors[c == CLASSES]} for c in range(4)]
    assert all(len(found) == 1 for found in of_class)
    assert len(set.union(*of_class)) == 4


def test_transparent_images_are_shown_on_white() -> None:
    values = np.dstack([HIGH, HIGH[..., 1]])
    image = Image.fromarray(values)
    white = Image.new("RGBA", image.size, "white")
    expected = np.asarray(Image.alpha_composite(white, image).convert("RGB")).astype(int)
    shown = to_shown(batch(values), KINDS["rgba"])[0].permute(1, 2, 0).numpy()
    assert np.abs(shown - expected).max() <= 1
    panel = np.asarray(draw_panel({"output": [image]})).astype(int)
    assert np.abs(panel[-GAP - SIZE : -GAP, GAP : GAP + SIZE] - expected).max() <= 1


@pytest.mark.parametrize(("kind", "array"), [
    (KINDS["rgb16"], DEEP), (KINDS["grey16"], DEEP[..., :1]), (MASK, CLASSES[..., None]),
    (complete(RAW, "target", {(5, "float32")}), FIVE),
])  # fmt: skip
def test_outputs_are_written_as_they_are_read(kind: Kind, array: Any) -> None:
    for suffix in (kind.suffix, ".tif"):
        assert np.array_equal(values(encode(array, kind, suffix), kind), array)
    assert Kind.of(kind.describe()) == kind
    assert Kind.of(None) == KINDS["rgb"]  # of a model from before there were kinds


@pytest.mark.parametrize(("options", "message"), [
    ({"target": "mask"}, "target=mask needs classes, how many there are, from 2 to 256; got None"),
    ({"target": "mask", "classes": 1}, "from 2 to 256; got 1"),
    ({"target": "mask", "classes": 4, "ignore": 3}, "ignore must be no class but a number from 4 to 255; got 3"),
    ({"input": "raw", "range": [1, 0]}, r"range must be \[low,high\] with low < high"),
    ({"input": "jpeg"}, "input must be one of rgb, grey, rgba, grey16, rgb16, mask, raw; got 'jpeg'"),
    ({"layout": "aligned", "input_folder": None, "input": "grey"}, "both halves are of one kind"),
])  # fmt: skip
def test_options_that_make_no_kind(options: dict[str, Any], message: str, comic_root: Path) -> None:
    with pytest.raises(UserError, match=message):
        datamodule(comic_root, **options)


def make_raw_root(root: Path, arrays: list[Any], target: Any = None) -> Path:
    for split, count in {"train": 3, "val": 1, "test": 1}.items():
        for i in range(count):
            for folder in ("face", "comics"):
                path = root / split / folder / f"{i}.npy"
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, arrays[i % len(arrays)] if target is None or folder == "face" else target)
    return root


def test_raw_images_must_be_alike_and_floats_need_a_range(tmp_path: Path) -> None:
    kinds = {"input": "raw", "target": "raw"}
    root = make_raw_root(tmp_path / "floats", [FIVE])
    with pytest.raises(UserError, match=r"only uint8 and uint16 .*another type, read as float32: data\.range="):
        datamodule(root, **kinds)
    with pytest.raises(UserError, match="only uint8 and uint16 have a range of their own"):
        datamodule(make_raw_root(tmp_path / "integers", [HIGH.astype(np.int32)]), **kinds)
    with pytest.raises(UserError, match=r"data.show=\[7\]: one or three channels from 0 to 4"):
        datamodule(root, **kinds, range=[-3, 3], show=[7])
    data = datamodule(root, **kinds, range=[-3, 3])
    assert data.channels == {"in_channels": 5, "out_channels": 5}
    root = make_raw_root(tmp_path / "two", [FIVE, FIVE[..., :2]])
    with pytest.raises(UserError, match="same channels and type, found 2 × float32 and 5 × float32"):
        datamodule(root, **kinds, range=[-3, 3])
    one = make_raw_root(tmp_path / "one", [FIVE], target=FIVE[..., :1])
    found = datamodule(one, **kinds, range=[[-3, 3], [0, 9]], show=[4, 0, 2]).kinds.values()
    assert [(kind.low, kind.high, kind.show) for kind in found] == [(-3, 3, (4, 0, 2)), (0, 9, (0,))]
    data = datamodule(make_raw_root(tmp_path / "bytes", [HIGH]), **kinds)
    assert (data.kinds["input"].low, data.kinds["input"].high, data.channels) == (0, 255, {})


@pytest.mark.parametrize("cache", ["none", "ram", "disk"])
def test_each_half_keeps_its_type_wherever_it_is_cached(tmp_path: Path, cache: str) -> None:
    """Inputs of 16 bits and targets of floats, in one batch."""
    for i, split in enumerate(["train"] * 3 + ["val", "test"]):
        for folder in ("face", "comics"):
            (tmp_path / "pairs" / split / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "pairs" / split / "face" / f"{i}.png").write_bytes(png(np.roll(DEEP[..., 0], i, 0)))
        np.save(tmp_path / "pairs" / split / "comics" / f"{i}.npy", np.roll(FIVE, i, 0))
    data = datamodule(tmp_path / "pairs", input="grey16", target="raw", range=[-5, 5], cache=cache, jitter=False,
                      hflip=False, batch_size=2, cache_folder=str(tmp_path / "cache"))  # fmt: skip
    model = Recorder()
    fit(model, data)
    assert data.datasets["train"].nbytes == 3 * SIZE**2 * (2 + 5 * 4)
    seen = {name: (x, y) for b in model.batches for name, x, y in zip(b["name"], b["input"], b["target"], strict=True)}
    for i in range(3):
        x, y = seen[str(i)]
        assert np.allclose(x[0].numpy(), np.roll(DEEP[..., 0], i, 0) / 32767.5 - 1, atol=1e-6)
        assert np.allclose(y.permute(1, 2, 0).numpy(), np.roll(FIVE, i, 0) / 5, atol=1e-6)


def make_joined_root(root: Path) -> Path:
    for i, split in enumerate(["train"] * 3 + ["val", "test"]):
        for number, folder in enumerate(("photo", "depth", "drawing")):
            path = root / split / folder / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(np.roll(HIGH, (i, number), (0, 1))))
    return root


def test_several_inputs_are_joined_as_channels(tmp_path: Path) -> None:
    root = make_joined_root(tmp_path / "pairs")
    options = {"input_folder": ["photo", "depth"], "target_folder": "drawing", "jitter": False, "hflip": False}
    data, model = datamodule(root, batch_size=3, **options), Recorder()
    fit(model, data)
    assert data.channels == {"in_channels": 6, "out_channels": 3}
    for name, x, y in zip(*(model.batches[0][key] for key in ("name", "input", "target")), strict=True):
        files = [np.roll(HIGH, (int(name), number), (0, 1)) for number in range(3)]
        assert np.array_equal(to_stored(x).permute(1, 2, 0).numpy(), np.dstack(files[:2]))
        assert np.array_equal(to_stored(y).permute(1, 2, 0).numpy(), files[2])
    (root / "train" / "depth" / "1.png").unlink()
    with pytest.raises(UserError, match=r"(?s)Images without a partner of the same stem:.*photo/1.png.*drawing/1.png"):
        datamodule(root, **options)
    with pytest.raises(UserError, match="Several inputs go with layout=folders or hub and direction=AtoB"):
        datamodule(root, **options, direction="BtoA")
    with pytest.raises(UserError, match="several masks can't be joined"):
        datamodule(root, **options, input="mask", classes=3)


def test_inputs_of_different_sizes_are_not_joined(tmp_path: Path) -> None:
    root = make_joined_root(tmp_path / "pairs")
    (root / "train" / "depth" / "1.png").write_bytes(png(HIGH[:50]))
    with pytest.raises(UserError, match="1: images of different sizes or types can't be joined: 64×50 of uint8 and 64"):
        datamodule(root, input_folder=["photo", "depth"], target_folder="drawing")


def test_without_its_package_color_of_16_bits_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("image_translation.data.kinds.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"target=rgb16 needs pip install 'image_translation\[deep\]'"):
        make_kind("target", "rgb16", None, None, None)
    assert make_kind("input", "grey16", None, None, None) == KINDS["grey16"]


@pytest.mark.parametrize(("options", "expected"), [
    ({"input": "grey16", "target": "grey16", "range": [0, 4095]}, "range is for raw images only"),
    ({"classes": 4}, "classes and ignore are for masks only"),
    ({"ignore": 255}, "classes and ignore are for masks only"),
])  # fmt: skip
def test_options_that_no_half_has_are_refused(options: dict[str, Any], expected: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=expected):
        datamodule(tmp_path, **options)
