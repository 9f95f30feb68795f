"""Image files of every kind, against what their pixels are by hand or by another decoder."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from conftest import image
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms
from torchvision.io import ImageReadMode, decode_jpeg

from image_translation.cli.errors import UserError
from image_translation.data.images import read_image, resize_image

SIZE = (24, 16)
Array = NDArray[Any]
LOSSLESS = {"PNG": {}, "BMP": {}, "WEBP": {"lossless": True}, "TIFF": {}}


def encoded(source: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    source.save(buffer, form, **LOSSLESS.get(form, {}) | options)
    return buffer.getvalue()


def pixels(content: bytes, **options: Any) -> Array:
    result = read_image(content, "file", **options)
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
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


@pytest.fixture
def source() -> Image.Image:
    return image(1, SIZE)


@pytest.fixture
def deep() -> Array:
    """(H, W, 4) of uint16 in which every value of the low byte occurs."""
    return np.random.default_rng(0).integers(0, 65536, (SIZE[1], SIZE[0], 4), dtype=np.uint16)


def in_8_bits(deep: Array) -> Array:
    return (deep // 256).astype(int)


def over_white(colors: Array, alpha: Array) -> Array:
    return colors / 257 * (alpha / 65535) + 255 * (1 - alpha / 65535)


def test_crop_keeps_the_center_and_stretch_keeps_everything() -> None:
    stripes = Image.new("RGB", (96, 32), "red")
    stripes.paste("blue", (32, 0, 64, 32))
    assert (np.asarray(resize_image(stripes, 32, "crop")) == (0, 0, 255)).all()
    stretched = np.asarray(resize_image(stripes, 96, "stretch"))
    assert stretched.shape == (96, 96, 3)
    assert stretched[48, 5].tolist() == stretched[48, 90].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("form", "options"), [*((form, {}) for form in LOSSLESS), ("TIFF", {"compression": "tiff_lzw"})]
)
def test_lossless_files_keep_their_pixels(source: Image.Image, form: str, options: dict[str, Any]) -> None:
    assert np.array_equal(pixels(encoded(source, form, **options)), np.asarray(source))


def test_jpeg_is_decoded_as_by_another_decoder(source: Image.Image) -> None:
    content = encoded(source, "JPEG", quality=90)
    other = decode_jpeg(torch.frombuffer(bytearray(content), dtype=torch.uint8), ImageReadMode.RGB)
    assert np.abs(pixels(content) - other.permute(1, 2, 0).numpy()).max() <= 2


@pytest.mark.parametrize("form", ["GIF", "TIFF", "WEBP", "PNG"])
def test_of_several_frames_the_first_counts(form: str) -> None:
    frames = [Image.new("RGB", SIZE, color) for color in ("red", "blue")]
    content = encoded(frames[0], form, save_all=True, append_images=frames[1:])
    assert Image.open(io.BytesIO(content)).n_frames == 2  # type: ignore[attr-defined]
    assert (pixels(content) == (255, 0, 0)).all()


def test_gray_black_and_white_and_palettes(source: Image.Image) -> None:
    gray, bits, indexed = source.convert("L"), source.convert("1"), source.quantize(16)
    for form, loss in {"PNG": 0, "TIFF": 0, "BMP": 0, "JPEG": 2}.items():
        difference = pixels(encoded(gray, form, quality=100)) - np.asarray(gray).astype(int)[..., None]
        assert np.abs(difference).max() <= loss, form
    assert np.array_equal(pixels(encoded(bits, "PNG"))[..., 0], np.asarray(bits) * 255)
    palette = np.array(indexed.getpalette()).reshape(-1, 3)
    assert np.array_equal(pixels(encoded(indexed, "PNG")), palette[np.asarray(indexed)])


@pytest.mark.parametrize(("color_type", "channels"), [(0, [0]), (2, [0, 1, 2]), (4, [0, 3]), (6, [0, 1, 2, 3])])
def test_16_bit_png_keeps_the_high_byte(deep: Array, color_type: int, channels: list[int]) -> None:
    result = pixels(png(deep[..., channels], color_type))
    colors = deep[..., [0, 1, 2] if color_type & 2 else [0, 0, 0]]
    if 3 in channels:
        assert np.abs(result - over_white(colors, deep[..., 3:])).max() <= 2
    else:
        assert np.array_equal(result, in_8_bits(colors))


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("gray", [True, False])
@pytest.mark.parametrize(
    "options", [{}, {"compression": "zlib"}, {"compression": "zlib", "predictor": True}, {"tile": (16, 16)}]
)
def test_16_bit_tiff_keeps_the_high_byte(deep: Array, gray: bool, byteorder: str, options: dict[str, Any]) -> None:
    data = deep[..., 0] if gray else deep[..., :3]
    content = tiff(data, byteorder=byteorder, photometric="minisblack" if gray else "rgb", **options)
    assert np.array_equal(pixels(content), in_8_bits(deep[..., [0, 0, 0] if gray else [0, 1, 2]]))


def test_16_bit_tiff_of_rarer_kinds(deep: Array) -> None:
    white_is_zero = pixels(tiff(deep[..., 0], photometric="miniswhite"))
    assert np.array_equal(white_is_zero[..., 0], 255 - in_8_bits(deep[..., 0]))
    colors, alpha = deep[..., :3], deep[..., 3:]
    premultiplied = (colors * (alpha / 65535)).astype(np.uint16)
    for meaning, stored in {"unspecified": colors, "unassalpha": colors, "assocalpha": premultiplied}.items():
        result = pixels(tiff(np.dstack([stored, alpha]), photometric="rgb", extrasamples=[meaning]))
        expected = colors / 257 if meaning == "unspecified" else over_white(colors, alpha)
        assert np.abs(result - expected).max() <= 3, meaning


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("channels", [3, 4])
def test_a_planar_tiff_is_refused_if_it_would_be_misread(deep: Array, channels: int, compression: Any) -> None:
    planes = np.ascontiguousarray(deep[..., :channels].transpose(2, 0, 1))
    options = {"photometric": "rgb", "planarconfig": "separate", "compression": compression}
    with pytest.raises(UserError, match=r"file: 16 bits a channel, planar"):
        pixels(tiff(planes, **options))
    assert np.array_equal(pixels(tiff(in_8_bits(planes[:3]).astype(np.uint8), **options)), in_8_bits(deep[..., :3]))


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.uint32, np.int16])
def test_values_without_a_range_are_refused(dtype: Any) -> None:
    with pytest.raises(UserError, match=r"^file: .*(8 or 16 bits|cannot be decoded|not an image)"):
        pixels(tiff(np.ones((8, 8), dtype)))


def test_16_bit_transparency_that_cannot_be_read_is_refused(deep: Array) -> None:
    transparent = chunk(b"tRNS", struct.pack(">H", int(deep[0, 0, 0])))
    with pytest.raises(UserError, match=r"16 bits a channel.*transparent"):
        pixels(png(deep[..., :1], 0, transparent))


@pytest.mark.parametrize(("background", "behind"), [("white", (255, 255, 255)), ("#102030", (16, 32, 48))])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_images_lie_over_the_background(
    source: Image.Image, mode: str, background: str, behind: tuple[int, int, int]
) -> None:
    if mode == "P":  # a palette in which one entry is transparent
        indexed = source.quantize(8)
        content = encoded(indexed, "PNG", transparency=3)
        expected = np.array(indexed.getpalette()).reshape(-1, 3)[np.asarray(indexed)]
        expected[np.asarray(indexed) == 3] = behind
    else:
        alpha = np.linspace(0, 255, SIZE[0] * SIZE[1]).astype(np.uint8).reshape(SIZE[1], SIZE[0])
        with_alpha = source.convert(mode)
        with_alpha.putalpha(Image.fromarray(alpha))
        content, share = encoded(with_alpha, "PNG"), alpha[..., None] / 255
        opaque = np.asarray(source.convert("L").convert("RGB") if mode == "LA" else source).astype(float)
        expected = opaque * share + np.array(behind) * (1 - share)
    assert np.abs(pixels(content, background=background) - expected).max() <= 1


def test_a_color_that_stands_for_transparent(source: Image.Image) -> None:
    array = np.asarray(source).copy()
    array[:4] = (10, 20, 30)
    content = encoded(Image.fromarray(array), "PNG", transparency=(10, 20, 30))
    array[:4] = 255
    assert np.array_equal(pixels(content), array)


TURNED = {  # EXIF 2.3, tag Orientation: where row 0 and column 0 of the file are in the upright image
    1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1), 6: lambda a: np.rot90(a, -1), 7: lambda a: np.rot90(a, -1)[:, ::-1][::-1, ::-1],
    8: lambda a: np.rot90(a),
}  # fmt: skip


@pytest.mark.parametrize("orientation", TURNED)
def test_images_stand_upright(source: Image.Image, deep: Array, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    for form in ("PNG", "WEBP", "TIFF"):
        upright = TURNED[orientation](np.asarray(source))
        assert np.array_equal(pixels(encoded(source, form, exif=exif)), upright), form
    gray, turned = deep[..., :1], TURNED[orientation](in_8_bits(deep[..., [0, 0, 0]]))
    assert np.array_equal(pixels(png(gray, 0, chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")))), turned)
    tag = (0x0112, "H", 1, orientation, True)
    assert np.array_equal(pixels(tiff(gray[..., 0], photometric="minisblack", extratags=[tag])), turned)


def test_cmyk_without_a_profile() -> None:
    inks = np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 4), dtype=np.uint8)
    expected = (255 - inks[..., :3].astype(float)) * (255 - inks[..., 3:].astype(float)) / 255
    assert np.abs(pixels(encoded(Image.fromarray(inks, "CMYK"), "TIFF")) - expected).max() <= 1.01


def srgb_profile(name: str = "ours") -> bytes:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace("sRGB".encode("utf-16-be"), name.encode("utf-16-be"))


def test_a_color_profile_is_applied(source: Image.Image) -> None:
    """sRGB with the names of its red and green primary exchanged."""
    profile = srgb_profile().replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")
    swapped = np.asarray(source)[..., [1, 0, 2]]
    for form in ("PNG", "TIFF"):
        assert np.abs(pixels(encoded(source, form, icc_profile=profile)) - swapped).max() <= 2, form


def test_a_profile_that_changes_nothing_moves_no_value(source: Image.Image) -> None:
    assert np.array_equal(pixels(encoded(source, "PNG", icc_profile=srgb_profile())), np.asarray(source))
    gray = source.convert("L")
    assert np.array_equal(pixels(encoded(gray, "PNG", icc_profile=srgb_profile()))[..., 1], np.asarray(gray))


def test_a_damaged_profile_is_named(source: Image.Image) -> None:
    with pytest.raises(UserError, match="file: its color profile cannot be used"):
        pixels(encoded(source, "PNG", icc_profile=b"no profile at all"))


def test_a_decompression_bomb_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    black = np.zeros((16, 24, 3), np.uint8)
    with pytest.raises(UserError, match=r"file: .*(pixels|bomb)"):
        pixels(png(black, 2, size=(60_000, 60_000)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 15 * 24)
    with pytest.raises(UserError, match="file: 24×16 are more than 360 pixels"):
        pixels(png(black, 2))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "16 bit"])
@pytest.mark.parametrize("left", [0.0, 0.3, 0.9])
def test_a_file_that_is_cut_short_is_named(form: str, left: float, deep: Array) -> None:
    content = png(deep[..., :3], 2) if form == "16 bit" else encoded(image(1, (64, 48)), form)
    with pytest.raises(UserError, match=r"^file: (not an image|cannot be decoded)"):
        pixels(content[: int(len(content) * left)])


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
