"""Image files of every kind, against what their pixels are by hand or by another decoder."""

import io
import struct
import zlib
from base64 import b64decode
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from conftest import image
from numpy.typing import NDArray
from PIL import Image, ImageCms
from torchvision.io import ImageReadMode, decode_jpeg

from image_translation.cli.errors import UserError
from image_translation.data.images import read_image, resize_image

SIZE = (24, 16)
Array = NDArray[Any]


def encoded(source: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    source.save(buffer, form, **options)
    return buffer.getvalue()


def pixels(content: bytes, **options: Any) -> Array:
    result = read_image(content, "file", **options)
    assert result.mode == "RGB"
    return np.asarray(result).astype(int)


def png(array: Array, color_type: int, extra: bytes = b"") -> bytes:
    """A PNG file by hand, from (H, W, C) of uint8 or uint16."""
    height, width = array.shape[:2]
    depth = array.dtype.itemsize * 8
    rows = b"".join(b"\0" + row.astype(row.dtype.newbyteorder(">")).tobytes() for row in array)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))  # fmt: skip


@pytest.fixture
def source() -> Image.Image:
    return image(1, SIZE)


@pytest.fixture
def deep() -> Array:
    """(H, W, 4) of uint16 in which every value of the low byte occurs."""
    return np.random.default_rng(0).integers(0, 65536, (SIZE[1], SIZE[0], 4), dtype=np.uint16)


def in_8_bits(deep: Array) -> Array:
    return np.rint(deep / 65535 * 255).astype(int)


def test_crop_keeps_the_center_and_stretch_keeps_everything() -> None:
    stripes = Image.new("RGB", (96, 32), "red")
    stripes.paste("blue", (32, 0, 64, 32))
    assert (np.asarray(resize_image(stripes, 32, "crop")) == (0, 0, 255)).all()
    stretched = np.asarray(resize_image(stripes, 96, "stretch"))
    assert stretched.shape == (96, 96, 3)
    assert stretched[48, 5].tolist() == stretched[48, 90].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("form", "options"),
    [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}),
     ("TIFF", {"compression": "tiff_deflate"})],
)  # fmt: skip
def test_lossless_files_keep_their_pixels(source: Image.Image, form: str, options: dict[str, Any]) -> None:
    assert np.array_equal(pixels(encoded(source, form, **options)), np.asarray(source))


def test_jpeg_is_decoded_as_by_another_decoder(source: Image.Image) -> None:
    content = encoded(source, "JPEG", quality=90)
    other = decode_jpeg(torch.frombuffer(bytearray(content), dtype=torch.uint8), ImageReadMode.RGB)
    assert np.abs(pixels(content) - other.permute(1, 2, 0).numpy()).max() <= 2


@pytest.mark.parametrize("form", ["GIF", "TIFF", "WEBP", "PNG"])
def test_of_several_frames_the_first_counts(form: str) -> None:
    frames = [Image.new("RGB", SIZE, color) for color in ("red", "blue")]
    content = encoded(
        frames[0], form, save_all=True, append_images=frames[1:], **{"lossless": True} if form == "WEBP" else {}
    )
    assert Image.open(io.BytesIO(content)).n_frames == 2  # type: ignore[attr-defined]
    assert (pixels(content) == (255, 0, 0)).all()


@pytest.mark.parametrize("form", ["PNG", "TIFF", "JPEG", "BMP"])
def test_grey_files_have_three_equal_channels(source: Image.Image, form: str) -> None:
    gray = source.convert("L")
    options = {"quality": 100} if form == "JPEG" else {}
    difference = pixels(encoded(gray, form, **options)) - np.asarray(gray).astype(int)[..., None]
    assert np.abs(difference).max() <= (2 if form == "JPEG" else 0)


def test_black_and_white(source: Image.Image) -> None:
    bits = source.convert("1")
    assert np.array_equal(pixels(encoded(bits, "PNG"))[..., 0], np.asarray(bits) * 255)


def test_palette(source: Image.Image) -> None:
    indexed = source.quantize(16)
    palette = np.array(indexed.getpalette()).reshape(-1, 3)
    assert np.array_equal(pixels(encoded(indexed, "PNG")), palette[np.asarray(indexed)])


@pytest.mark.parametrize(("color_type", "channels"), [(0, [0, 0, 0]), (2, [0, 1, 2])])
def test_16_bit_png_is_scaled_not_cut_off(deep: Array, color_type: int, channels: list[int]) -> None:
    assert np.array_equal(pixels(png(deep[..., sorted(set(channels))], color_type)), in_8_bits(deep[..., channels]))


@pytest.mark.parametrize(("color_type", "own", "channels"), [(6, [0, 1, 2, 3], [0, 1, 2]), (4, [0, 3], [0, 0, 0])])
def test_16_bit_png_with_alpha(deep: Array, color_type: int, own: list[int], channels: list[int]) -> None:
    alpha = deep[..., 3:] / 65535
    expected = deep[..., channels] / 257 * alpha + 255 * (1 - alpha)
    assert np.abs(pixels(png(deep[..., own], color_type)) - expected).max() <= 1.5


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("channels", [[0, 0, 0], [0, 1, 2]])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_16_bit_tiff_is_scaled_not_cut_off(
    deep: Array, channels: list[int], byteorder: Any, compression: Any, tmp_path: Path
) -> None:
    data = deep[..., :3] if len(set(channels)) == 3 else deep[..., 0]
    photometric = "rgb" if data.ndim == 3 else "minisblack"
    tifffile.imwrite(tmp_path / "deep.tif", data, byteorder=byteorder, photometric=photometric, compression=compression)
    content = (tmp_path / "deep.tif").read_bytes()
    assert np.array_equal(pixels(content), in_8_bits(deep[..., channels]))


def test_16_bit_tiff_whose_zero_is_white(deep: Array, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "deep.tif", deep[..., 0], photometric="miniswhite")
    assert np.array_equal(pixels((tmp_path / "deep.tif").read_bytes())[..., 0], 255 - in_8_bits(deep[..., 0]))


def test_16_bit_tiff_as_opencv_writes_it() -> None:
    """With LZW and a predictor, which tifffile only writes with another package."""
    content = b64decode(
        "SUkqADAAAACAAAAFkNrIbAspQiFQmGQuECwkIUxt4/Q6GxeFlhILFVgpjxaQReAgDAAAAQMAAQAAAAQAAAABAQMAAQAAAAMAAAACAQMAAwAAAMYA"
        "AAADAQMAAQAAAAUAAAAGAQMAAQAAAAIAAAARAQQAAQAAAAgAAAAVAQMAAQAAAAMAAAAWAQMAAQAAAAMAAAAXAQQAAQAAACgAAAAcAQMAAQAAAAEA"
        "AAA9AQMAAQAAAAIAAABTAQMAAwAAAMwAAAAAAAAAEAAQABAAAQABAAEA"
    )
    values = np.arange(36).reshape(3, 4, 3) * 7001 % 65536
    assert np.array_equal(pixels(content), in_8_bits(values))


@pytest.mark.parametrize("meaning", ["unspecified", "unassalpha"])
def test_a_fourth_channel_of_a_16_bit_tiff_is_alpha_only_if_said_so(deep: Array, meaning: str, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "deep.tif", deep, photometric="rgb", extrasamples=[meaning])
    alpha = deep[..., 3:] / 65535 if meaning == "unassalpha" else 1.0
    expected = deep[..., :3] / 257 * alpha + 255 * (1 - alpha)
    assert np.abs(pixels((tmp_path / "deep.tif").read_bytes()) - expected).max() <= 1.5


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("channels", [3, 4])
def test_a_planar_16_bit_tiff_is_refused_and_not_misread(
    deep: Array, channels: int, compression: Any, tmp_path: Path
) -> None:
    planes = np.ascontiguousarray(deep[..., :channels].transpose(2, 0, 1))
    tifffile.imwrite(tmp_path / "deep.tif", planes, photometric="rgb", planarconfig="separate", compression=compression)
    with pytest.raises(UserError, match=r"deep\.tif: 16 bits a channel, .*\(planar\); save it interleaved"):
        read_image(tmp_path / "deep.tif")


def test_a_planar_8_bit_tiff(source: Image.Image, tmp_path: Path) -> None:
    planes = np.ascontiguousarray(np.asarray(source).transpose(2, 0, 1))
    tifffile.imwrite(tmp_path / "planar.tif", planes, photometric="rgb", planarconfig="separate")
    assert np.array_equal(pixels((tmp_path / "planar.tif").read_bytes()), np.asarray(source))


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.uint32, np.int16])
def test_values_without_a_range_are_refused(dtype: Any, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "odd.tif", np.ones((8, 8), dtype))
    with pytest.raises(UserError, match=r"odd\.tif: .*(8 or 16 bits|cannot be decoded|not an image)"):
        read_image(tmp_path / "odd.tif")


@pytest.mark.parametrize(("background", "behind"), [("white", (255, 255, 255)), ("#102030", (16, 32, 48))])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparent_images_lie_over_the_background(
    source: Image.Image, mode: str, background: str, behind: tuple[int, int, int]
) -> None:
    alpha = np.linspace(0, 255, SIZE[0] * SIZE[1]).astype(np.uint8).reshape(SIZE[1], SIZE[0])
    with_alpha = source.convert("L").convert("LA") if mode == "LA" else source.convert("RGBA")
    with_alpha.putalpha(Image.fromarray(alpha))
    content = encoded(with_alpha.convert(mode), "PNG" if mode != "PA" else "TIFF") if mode != "PA" else b""
    if mode == "PA":  # a palette in which one entry is transparent
        indexed = source.quantize(8)
        content = encoded(indexed, "PNG", transparency=3)
        expected = np.array(indexed.getpalette()).reshape(-1, 3)[np.asarray(indexed)]
        expected[np.asarray(indexed) == 3] = behind
    else:
        opaque = np.asarray(source.convert("L").convert("RGB") if mode == "LA" else source).astype(float)
        share = alpha[..., None] / 255
        expected = opaque * share + np.array(behind) * (1 - share)
    assert np.abs(pixels(content, background=background) - expected).max() <= 1


def test_a_color_that_stands_for_transparent(source: Image.Image) -> None:
    array = np.asarray(source).copy()
    array[:4] = (10, 20, 30)
    content = encoded(Image.fromarray(array), "PNG", transparency=(10, 20, 30))
    expected = array.copy()
    expected[:4] = 255
    assert np.array_equal(pixels(content), expected)


TURNED = {  # EXIF 2.3, tag Orientation: where row 0 and column 0 of the file are in the upright image
    1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1), 6: lambda a: np.rot90(a, -1), 7: lambda a: np.rot90(a, -1)[:, ::-1][::-1, ::-1],
    8: lambda a: np.rot90(a),
}  # fmt: skip


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "16 bit", "16 bit TIFF"])
def test_images_stand_upright(source: Image.Image, deep: Array, form: str, orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    if form == "16 bit TIFF":
        tag = (0x0112, "H", 1, orientation, True)
        tifffile.imwrite(tmp_path / "deep.tif", deep[..., :3], photometric="rgb", extratags=[tag])
        content, upright = (tmp_path / "deep.tif").read_bytes(), in_8_bits(deep[..., :3])
    elif form == "16 bit":
        data = exif.tobytes().removeprefix(b"Exif\0\0")
        chunk = struct.pack(">I", len(data)) + b"eXIf" + data + struct.pack(">I", zlib.crc32(b"eXIf" + data))
        content, upright = png(deep[..., :3], 2, chunk), in_8_bits(deep[..., :3])
    else:
        content = encoded(source, form, exif=exif, **{"lossless": True} if form == "WEBP" else {})
        upright = np.asarray(source).astype(int)
    assert np.array_equal(pixels(content), TURNED[orientation](upright))


def test_cmyk_without_a_profile() -> None:
    inks = np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 4), dtype=np.uint8)
    c_m_y, black = inks[..., :3].astype(float), inks[..., 3:].astype(float)
    expected = (255 - c_m_y) * (255 - black) / 255
    assert np.abs(pixels(encoded(Image.fromarray(inks, "CMYK"), "TIFF")) - expected).max() <= 1.01


def swapped_profile() -> bytes:
    """sRGB with the names of its red and green primary exchanged."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = profile.replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")
    return profile.replace("sRGB".encode("utf-16-be"), "ours".encode("utf-16-be")).replace(b"sRGB", b"ours")


def test_a_color_profile_is_applied(source: Image.Image) -> None:
    swapped = np.asarray(source)[..., [1, 0, 2]]
    for form in ("PNG", "TIFF"):
        result = pixels(encoded(source, form, icc_profile=swapped_profile()))
        assert np.abs(result - swapped).max() <= 2, form


def linear_profile() -> bytes:
    """sRGB's primaries and name, but with numbers that are proportional to the light."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    entries = [profile[132 + 12 * i : 144 + 12 * i] for i in range(struct.unpack(">I", profile[128:132])[0])]
    (curve,) = {entry[4:8] for entry in entries if entry[:4] in (b"rTRC", b"gTRC", b"bTRC")}
    start = struct.unpack(">I", curve)[0]
    assert profile[start : start + 4] == b"para"
    # ICC.1:2022, 10.18: type 0 is Y = X ** g; g as s15Fixed16Number.
    return profile[: start + 8] + struct.pack(">HHi", 0, 0, 65536) + profile[start + 16 :]


def test_a_profile_that_is_called_srgb_and_is_not_is_applied(source: Image.Image) -> None:
    profile = linear_profile()
    assert ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).startswith("sRGB")
    light = np.asarray(source) / 255
    encoded_light = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)  # IEC 61966-2-1
    assert np.abs(pixels(encoded(source, "PNG", icc_profile=profile)) - 255 * encoded_light).max() <= 1.5


def test_a_profile_that_changes_nothing_moves_no_value(source: Image.Image) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = profile.replace("sRGB".encode("utf-16-be"), "ours".encode("utf-16-be"))
    assert np.array_equal(pixels(encoded(source, "PNG", icc_profile=profile)), np.asarray(source))


def test_a_grey_image_with_an_rgb_profile(source: Image.Image) -> None:
    gray = source.convert("L")
    content = encoded(gray, "PNG", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    assert np.array_equal(pixels(content)[..., 1], np.asarray(gray))


def test_a_damaged_profile_is_named(source: Image.Image) -> None:
    with pytest.raises(UserError, match="file: its color profile cannot be used"):
        pixels(encoded(source, "PNG", icc_profile=b"no profile at all"))


def test_a_decompression_bomb_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 15 * 24)
    bomb = png(np.zeros((16, 24, 3), np.uint8), 2)
    with pytest.raises(UserError, match="file: 24×16 are more than 360 pixels"):
        pixels(bomb)


def test_a_real_bomb_is_not_unpacked() -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    content = png(np.zeros((2, 2, 3), np.uint8), 2)
    content = content[:16] + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + content[33:]
    with pytest.raises(UserError, match=r"file: .*(pixels|bomb)"):
        pixels(content)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF"])
@pytest.mark.parametrize("left", [0.0, 0.3, 0.9])
def test_a_file_that_is_cut_short_is_named(form: str, left: float) -> None:
    content = encoded(image(1, (64, 48)), form)
    with pytest.raises(UserError, match=r"^file: (not an image|cannot be decoded)"):
        pixels(content[: int(len(content) * left)])


def test_a_16_bit_file_that_is_cut_short_is_named(deep: Array) -> None:
    content = png(deep[..., :3], 2)
    with pytest.raises(UserError, match=r"^file: cannot be decoded"):
        pixels(content[: len(content) // 2])


def test_16_bit_transparency_that_nobody_decodes_is_refused(deep: Array, tmp_path: Path) -> None:
    chunk = b"tRNS" + struct.pack(">H", int(deep[0, 0, 0]))
    transparent = struct.pack(">I", 2) + chunk + struct.pack(">I", zlib.crc32(chunk))
    with pytest.raises(UserError, match=r"16 bits a channel and (one|premultiplied) transparen"):
        pixels(png(deep[..., :1], 0, transparent))
    tifffile.imwrite(tmp_path / "deep.tif", deep, photometric="rgb", extrasamples=["assocalpha"])
    with pytest.raises(UserError, match=r"16 bits a channel and (one|premultiplied) transparen"):
        read_image(tmp_path / "deep.tif")
