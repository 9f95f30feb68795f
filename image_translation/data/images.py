"""Reading image files of every common kind as 8-bit sRGB."""

import io
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageColor, ImageFile, ImageOps, TiffImagePlugin, UnidentifiedImageError
from torchvision.io import ImageReadMode, decode_png

from image_translation.cli.errors import UserError

RESIZES = ("crop", "stretch")
BACKGROUND = "white"
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")  # and no other, whatever the extension: EPS runs Ghostscript
MAX_SRGB_CHANGE = 2  # 8-bit levels; a profile that changes no color by more is taken for sRGB
BITS, PHOTOMETRIC, PLANES, EXTRA_SAMPLES, SAMPLE_FORMAT = 258, 262, 284, 338, 339  # TIFF tags
WHITE_IS_ZERO, SEPARATE, PREMULTIPLIED, UNSIGNED = 0, 2, 1, 1  # values of these
OTHER_BYTE_ORDER = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}  # as Pillow calls them
PROFILE_MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab ": "LAB"}


def read_image(source: Path | bytes, name: object = None, background: str = BACKGROUND) -> Image.Image:
    """A file, or its bytes, as an upright 8-bit sRGB image, decoded in full; of several frames or pages the first.

    16 bits a channel are scaled to 8 by the type's range. EXIF orientation and color profiles are applied.

    Args:
        source: the file.
        name: what to call it in a message.
        background: a CSS color that transparent images are laid over.

    Raises:
        UserError: it is not an image, or damaged, too large, or of a kind that has no single meaning in 8 bits; the
            text names the file.
    """
    try:
        content = source if isinstance(source, bytes) else source.read_bytes()
        with open_image(content) as image:
            return _decode(image, content, background)
    except Exception as error:  # Pillow's decoders raise many types
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno):
            raise
        reason = f"cannot be decoded ({error or type(error).__name__})."
        if isinstance(error, UnidentifiedImageError):
            reason = f"not an image of a known kind ({', '.join(FORMATS)})."
        raise UserError(f"{name or source}: {error if isinstance(error, UserError) else reason}") from error


def open_image(content: bytes) -> ImageFile.ImageFile:
    """A file's bytes as an image of one of ``FORMATS``, not decoded yet, or Pillow's UnidentifiedImageError."""
    return Image.open(io.BytesIO(content), formats=FORMATS)


def to_srgb(image: Image.Image, background: str = BACKGROUND) -> Image.Image:
    """An image of up to 8 bits a channel as upright 8-bit sRGB; a UserError if it has more, or a damaged profile."""
    if image.mode.startswith(("I", "F")):
        raise UserError(f"mode {image.mode} has more than 16 bits or no fixed range; convert it to 8 or 16 bits.")
    upright = ImageOps.exif_transpose(image)
    profile = upright.info.get("icc_profile")
    if not upright.has_transparency_data:
        return _apply_profile(upright, profile)
    rgba = upright.convert("RGBA")
    gray = upright.mode in ("1", "L", "LA", "La")
    colors = _apply_profile(rgba.convert("RGB").convert("L") if gray else rgba.convert("RGB"), profile)
    return Image.composite(colors, Image.new("RGB", rgba.size, ImageColor.getrgb(background)), rgba.getchannel("A"))


def resize_image(image: Image.Image, size: int, resize: str) -> Image.Image:
    """Make an image ``size`` × ``size``: ``crop`` keeps proportions and center, ``stretch`` keeps all of it."""
    if image.size == (size, size):
        return image
    if resize == "crop":
        return ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
    return image.resize((size, size), Image.Resampling.BICUBIC)


def _decode(image: ImageFile.ImageFile, content: bytes, background: str) -> Image.Image:
    limit = Image.MAX_IMAGE_PIXELS
    if limit and image.width * image.height > limit:  # Pillow itself only warns up to twice as many
        raise UserError(f"{image.width}×{image.height} are more than {limit:,} pixels; scale it down.")
    tags: Any = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    is_deep = 16 in tags.get(BITS, ()) and set(tags.get(SAMPLE_FORMAT, (UNSIGNED,))) == {UNSIGNED}
    if not is_deep and not (image.format == "PNG" and ";16" in str(image.tile)):  # in its raw mode
        image.load()
        return to_srgb(image, background)
    planar = tags.get(PLANES) == SEPARATE and len(tags[BITS]) > 1
    if planar or PREMULTIPLIED in tags.get(EXTRA_SAMPLES, ()) or "transparency" in image.info:
        what = "planar" if planar else "transparency that is premultiplied or one color"
        raise UserError(f"16 bits a channel in a form that is not supported ({what}); save it as RGB or RGBA PNG.")
    image.load()  # also where another decoder does the work, because it reports damage
    values = _read_16_bits(image, content)
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        values = 65535 - values
    scaled = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)  # 65535 / 255 = 257
    channels = [Image.fromarray(channel) for channel in np.atleast_3d(scaled).transpose(2, 0, 1)]
    result = Image.merge({1: "L", 2: "LA"}.get(len(channels), image.mode), channels)
    result.info.update(image.info)
    return to_srgb(result, background)


def _read_16_bits(image: ImageFile.ImageFile, content: bytes) -> NDArray[Any]:
    """(H, W) or (H, W, C) of uint16. Of colors Pillow keeps the high byte only."""
    if image.format == "PNG":
        decoded = decode_png(torch.frombuffer(bytearray(content), dtype=torch.uint8), ImageReadMode.UNCHANGED)
        return np.asarray(decoded.permute(1, 2, 0))
    values = np.asarray(image)
    if values.ndim == 3:  # read in the other byte order, a TIFF gives the low bytes
        with open_image(content) as again:
            tiles: list[Any] = list(again.tile)  # their first argument is a raw mode such as RGB;16B
            again.tile = [
                tile._replace(args=(tile.args[0][:-1] + OTHER_BYTE_ORDER[tile.args[0][-1]], *tile.args[1:]))
                for tile in tiles
            ]
            values = values.astype(np.uint16) * 256 + np.asarray(again)
    return values


def _apply_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Colors without alpha, in sRGB."""
    found = _transform(profile) if profile else None
    if found is None:
        return image.convert("RGB")
    mode, transform = found
    if mode == "RGB" and image.mode in ("1", "L", "P"):
        image = image.convert("RGB")
    if mode != image.mode:
        raise UserError(f"its color profile is for {mode}, but the image is {image.mode}; remove the profile.")
    return transform.apply(image)


@lru_cache(maxsize=64)
def _transform(profile: bytes) -> tuple[str, ImageCms.ImageCmsTransform] | None:
    """The mode that a profile is for, and its transform to sRGB; None if it changes nothing."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = PROFILE_MODES.get(source.profile.xcolor_space, source.profile.xcolor_space.strip())
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (OSError, ImageCms.PyCMSError) as error:
        raise UserError(f"its color profile cannot be used ({error}); remove it or save the image anew.") from error
    if mode not in ("L", "RGB"):
        return mode, transform
    levels = np.linspace(0, 255, 18).astype(np.uint8)
    colors = Image.fromarray(np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(18, -1, 3)).convert(mode)
    change = np.asarray(transform.apply(colors)).astype(int) - np.asarray(colors.convert("RGB"))
    return None if np.abs(change).max() <= MAX_SRGB_CHANGE else (mode, transform)
