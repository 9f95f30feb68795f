"""Image files of every kind, against what their pixels are by hand or by another decoder."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import tifffile
from conftest import image
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms

from image_translation.cli.errors import UserError
from image_translation.data.images import read_image, resize_image

SIZE = (24, 16)
Array = NDArray[Any]


def encoded(source: Image.Image, form: str, **options: Any) -> bytes:
    source.save(buffer := io.BytesIO(), form, **({"lossless": True} if form == "WEBP" else {}), **options)
    return buffer.getvalue()


def pixels(content: bytes, background: str = "white") -> Array:
    result = read_image(content, "file", background)
    assert result.mode == "RGB"
    return np.asarray(result).astype(int)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(array: Array, color_type: int, extra: bytes = b"", size: tuple[int, int] | None = None) -> bytes:
    """A PNG file by hand, from (H, W, C) of uint8 or uint16."""
    height, width = array.shape[:2]
    rows = b"".join(b"\0" + row.astype(row.dtype.newbyteorder(">")).tobytes() for row in array)
    header = struct.pack(">IIBBBBB", *(size or (width, height)), array.dtype.itemsize * 8, color_type, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))  # fmt: skip


def tiff(array: Array, **options: Any) -> bytes:
    tifffile.imwrite(buffer := io.BytesIO(), array, **options)
    return buffer.getvalue()


SOURCE = image(1, SIZE)
# (H, W, 4) of uint16 in which every value of the low byte occurs.
DEEP = np.random.default_rng(0).integers(0, 65536, (SIZE[1], SIZE[0], 4), dtype=np.uint16)


RGB, GRAY = DEEP[..., :3], DEEP[..., [0, 0, 0]]
PLANES, PLANAR = np.ascontiguousarray(DEEP.transpose(2, 0, 1)), {"photometric": "rgb", "planarconfig": "separate"}


def over_white(colors: Array) -> Array:
    share = DEEP[..., 3:] / 65535
    return colors / 257 * share + 255 * (1 - share)


def test_crop_keeps_the_center_and_stretch_keeps_everything() -> None:
    stripes = Image.new("RGB", (96, 32), "red")
    stripes.paste("blue", (32, 0, 64, 32))
    assert (np.asarray(resize_image(stripes, 32, 32, "crop")) == (0, 0, 255)).all()
    stretched = np.asarray(resize_image(stripes, 96, 96, "stretch"))
    assert stretched.shape == (96, 96, 3)
    assert stretched[48, 5].tolist() == stretched[48, 90].tolist() == [255, 0, 0]


@pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP"])
def test_lossless_files_keep_their_pixels(form: str) -> None:
    for mode in ("RGB", "L", "1"):
        saved = SOURCE.convert(mode)
        assert np.array_equal(pixels(encoded(saved, form)), np.asarray(saved.convert("RGB"))), mode


WITH_16_BITS = {  # files, and what they hold in 8 bits: whole numbers exactly, others nearly
    "gray PNG": (png(DEEP[..., :1], 0), GRAY // 256),
    "RGB PNG": (png(RGB, 2), RGB // 256),
    "gray PNG with alpha": (png(DEEP[..., [0, 3]], 4), over_white(GRAY)),
    "RGB PNG with alpha": (png(DEEP, 6), over_white(RGB)),
    "TIFF in which white is zero": (tiff(DEEP[..., 0], photometric="miniswhite"), 255 - GRAY // 256),
    "TIFF with a fourth channel": (tiff(DEEP, photometric="rgb", extrasamples=["unspecified"]), RGB / 257),
    "TIFF with alpha": (tiff(DEEP, photometric="rgb", extrasamples=["unassalpha"]), over_white(RGB)),
    "TIFF with planes of 8 bits": (tiff(PLANES[:3].astype(np.uint8), **PLANAR), RGB % 256),
    "TIFF multiplied by alpha": (
        tiff(np.dstack([(RGB * (DEEP[..., 3:] / 65535)).astype(np.uint16), DEEP[..., 3]]), photometric="rgb",
             extrasamples=["assocalpha"]), over_white(RGB)),
}  # fmt: skip


@pytest.mark.parametrize("kind", WITH_16_BITS)
def test_of_16_bits_the_high_byte_is_kept(kind: str) -> None:
    content, expected = WITH_16_BITS[kind]
    assert np.abs(pixels(content) - expected).max() <= (0 if expected.dtype != float else 2 if "PNG" in kind else 3)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("gray", [True, False])
@pytest.mark.parametrize(
    "options", [{}, {"compression": "zlib"}, {"compression": "zlib", "predictor": True}, {"tile": (16, 16)}]
)
def test_also_in_every_kind_of_tiff(gray: bool, byteorder: str, options: dict[str, Any]) -> None:
    data, photometric, expected = (DEEP[..., 0], "minisblack", GRAY) if gray else (RGB, "rgb", RGB)
    content = tiff(data, byteorder=byteorder, photometric=photometric, **options)
    assert np.array_equal(pixels(content), expected // 256)


FILES = {form: encoded(image(1, (64, 48)), form) for form in ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")}
FILES["PNG of 16 bits"] = png(RGB, 2)
REFUSED = {
    **{form: (encoded(SOURCE, form), r"not an image of a known kind \(PNG, JPEG, WEBP, TIFF, BMP, GIF\)")
       for form in ("EPS", "ICO", "PPM", "TGA", "PDF")},
    **{dtype: (tiff(np.ones((8, 8), dtype)), "(8 or 16 bits|cannot be decoded|not an image)")
       for dtype in ("float32", "int32", "uint32", "int16")},
    **{f"{count} planes of 16 bits, compression {method}": (
        tiff(PLANES[:count], **PLANAR, compression=method), "16 bits a channel, planar")
       for count in (3, 4) for method in (None, "zlib")},
    **{f"{form} cut short to {part:.0%}": (content[: int(len(content) * part)], "(not an image|cannot be decoded)")
       for form, content in FILES.items() for part in (0, 0.3, 0.9)},
    "transparent gray of 16 bits": (png(DEEP[..., :1], 0, chunk(b"tRNS", bytes(2))), "16 bits a channel.*transparent"),
    "bomb": (png(RGB, 2, size=(60_000, 60_000)), "(pixels|bomb)"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_other_kinds_and_what_has_no_safe_meaning_are_refused(kind: str) -> None:
    content, message = REFUSED[kind]
    with pytest.raises(UserError, match=rf"^file: .*{message}"):
        pixels(content)


@pytest.mark.parametrize("form", ["GIF", "TIFF", "PNG", "WEBP"])
def test_of_several_frames_the_first_is_read_and_a_warning_says_so(form: str, caplog: pytest.LogCaptureFixture) -> None:
    frames = [image(seed, SIZE).quantize(8).convert("RGB") for seed in range(3)]
    content = encoded(frames[0], form, save_all=True, append_images=frames[1:])
    first = np.asarray(read_image(content, f"moving {form}", "white"))
    assert np.abs(first.astype(int) - np.asarray(frames[0])).mean() < 1
    assert [record.message for record in caplog.records] == [
        f"moving {form}: has 3 frames or pages; only the first is read."
    ]
    read_image(encoded(frames[0], form), f"still {form}", "white")
    assert len(caplog.records) == 1


def test_more_pixels_than_pillows_limit_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 15 * 24)
    with pytest.raises(UserError, match="file: 24×16 are more than 360 pixels"):
        pixels(encoded(SOURCE, "PNG"))


@pytest.mark.parametrize(("background", "behind"), [("white", (255, 255, 255)), ("#102030", (16, 32, 48))])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "RGB", "P"])
def test_transparent_images_lie_over_the_background(mode: str, background: str, behind: tuple[int, int, int]) -> None:
    if mode == "P":  # a palette in which one entry is transparent
        indexed = SOURCE.quantize(8)
        content, opaque = encoded(indexed, "PNG", transparency=3), np.asarray(indexed.convert("RGB"))
        alpha = 255 * (np.asarray(indexed) != 3)
    elif mode == "RGB":  # one color stands for transparent
        content, opaque = encoded(SOURCE, "PNG", transparency=SOURCE.getpixel((0, 0))), np.asarray(SOURCE)
        alpha = 255 * (opaque != opaque[0, 0]).any(axis=-1)
    else:
        alpha = np.linspace(0, 255, SIZE[0] * SIZE[1]).astype(np.uint8).reshape(SIZE[1], SIZE[0])
        with_alpha = SOURCE.convert(mode)
        with_alpha.putalpha(Image.fromarray(alpha))
        content, opaque = encoded(with_alpha, "PNG"), np.asarray(SOURCE.convert(mode[:-1]).convert("RGB"))
    share = alpha[..., None] / 255
    expected = opaque * share + np.array(behind) * (1 - share)
    assert np.abs(pixels(content, background=background) - expected).max() <= 1


TURNED = {  # EXIF 2.3, tag Orientation: where row 0 and column 0 of the file are in the upright image
    1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1), 6: lambda a: np.rot90(a, -1), 7: lambda a: np.rot90(a, -1)[::-1],
    8: lambda a: np.rot90(a),
}  # fmt: skip


@pytest.mark.parametrize("orientation", TURNED)
def test_images_stand_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    for form in ("PNG", "WEBP", "TIFF"):
        upright = TURNED[orientation](np.asarray(SOURCE))
        assert np.array_equal(pixels(encoded(SOURCE, form, exif=exif)), upright), form
    gray, turned = DEEP[..., :1], TURNED[orientation](GRAY // 256)
    assert np.array_equal(pixels(png(gray, 0, chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")))), turned)
    tag = (0x0112, "H", 1, orientation, True)
    assert np.array_equal(pixels(tiff(gray[..., 0], photometric="minisblack", extratags=[tag])), turned)


def test_a_color_profile_is_applied_and_one_that_changes_nothing_moves_no_value() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    renamed = srgb.replace("sRGB".encode("utf-16-be"), "ours".encode("utf-16-be"))
    exchanged = renamed.replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")  # red and green
    for form in ("PNG", "TIFF"):
        swapped = pixels(encoded(SOURCE, form, icc_profile=exchanged))
        assert np.abs(swapped - np.asarray(SOURCE)[..., [1, 0, 2]]).max() <= 2, form
        assert np.array_equal(pixels(encoded(SOURCE, form, icc_profile=renamed)), np.asarray(SOURCE)), form
    gray = SOURCE.convert("L")
    assert np.array_equal(pixels(encoded(gray, "PNG", icc_profile=renamed))[..., 1], np.asarray(gray))


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF"]),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=20),
    st.integers(0, 30),
)
def test_damaged_bytes_are_an_image_or_an_error_in_words(form: str, changes: list[tuple[int, int]], cut: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = bytearray(encoded(image(1, SIZE), form, **({} if form in ("BMP", "GIF") else {"exif": exif})))
    for position, value in changes:
        content[position % len(content)] = value
    text = "file: "
    try:
        pixels(bytes(content[: len(content) - cut]))
    except UserError as error:
        text = str(error)
    assert text.startswith("file: ")
