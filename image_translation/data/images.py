"""Reading image files of every common kind as 8-bit sRGB, many at once."""

import functools
import io
import logging
import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import numpy as np
from PIL import Image, ImageCms, ImageColor, ImageFile, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, PLANAR_CONFIGURATION
from rich.progress import track

from image_translation.cli.console import console
from image_translation.cli.errors import UserError

log = logging.getLogger(__name__)
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")  # and no other, whatever the extension: EPS runs Ghostscript
CHUNK = 128  # images that are read ahead
T = TypeVar("T")
U = TypeVar("U")


def in_threads(work: Callable[[T], U], items: Sequence[T], title: str = "") -> Iterator[U]:
    """Results in order, with a progress bar if there is a title and a terminal. Pillow decodes without the GIL."""
    starts, quiet = range(0, len(items), CHUNK), not title or not console().is_terminal
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in track(starts, title, transient=True, disable=quiet):
            yield from pool.map(work, items[start : start + CHUNK])


def read_image(
    content: bytes, name: object, background: str | None, alpha: bool = False, least: int | None = None
) -> Image.Image:
    """A file's bytes as an upright 8-bit sRGB image, decoded in full; of several frames or pages the first.

    Of 16 bits a channel the high byte is kept. EXIF orientation and color profiles are applied. Transparent images are
    laid over ``background``, a CSS color, if there is one; with ``alpha`` they are still returned as RGBA. A JPEG of
    which ``least`` pixels a side are enough may be scaled to 1/2, 1/4 or 1/8 by its decoder. UserError with the file's
    ``name`` if it is not an image, or damaged, too large, or of a kind that has no single meaning in 8 bits.
    """
    with open_image(content, name) as image:
        if getattr(image, "is_animated", False):
            _warn(f"{name}: has {image.n_frames} frames or pages; only the first is read.")  # type: ignore[attr-defined]
        tags = _tags(image)
        is_planar = tags.get(PLANAR_CONFIGURATION) == 2 and tags[BITSPERSAMPLE].count(16) > 1
        if is_planar or (";16" in str(image.tile) and "transparency" in image.info):  # a tile names the raw mode
            raise UserError("16 bits a channel, planar or with one transparent color; save it as RGB or RGBA PNG.")
        if least:
            image.draft(None, (least, least))  # of a JPEG; others stay as they are
        image.load()
        return to_srgb(image, background, name, alpha)


@contextmanager
def open_image(content: bytes, name: object) -> Iterator[ImageFile.ImageFile]:
    """An image that is not decoded yet. Whatever goes wrong with it is a UserError with the file's ``name``."""
    try:
        with _open_without_texts(content, name) as image:
            limit = Image.MAX_IMAGE_PIXELS
            if limit and image.width * image.height > limit:  # Pillow only warns, up to twice as many
                raise UserError(f"{image.width}×{image.height} are more than {limit:,} pixels; scale it down.")
            yield image
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    except UnidentifiedImageError as error:
        raise UserError(f"{name}: not an image of a known kind ({', '.join(FORMATS)}).") from error
    except Exception as error:  # Pillow's decoders raise many types
        raise UserError(f"{name}: cannot be decoded ({error}).") from error


def _open_without_texts(content: bytes, name: object) -> ImageFile.ImageFile:
    """An image, if need be without the texts and the profile of a PNG file: damaged, or more than Pillow unpacks."""
    try:
        return Image.open(io.BytesIO(content), formats=FORMATS)
    except (OSError, ValueError):
        if not content.startswith(b"\x89PNG"):
            raise
        _warn(f"{name}: its texts or its color profile are too large or damaged and are ignored.")
        kept, place = [content[:8]], 8
        while place < len(content):  # length, kind, data and checksum
            start, place = place, place + 12 + int.from_bytes(content[place : place + 4], "big")
            if content[start + 4 : start + 8] not in (b"tEXt", b"zTXt", b"iTXt", b"iCCP"):
                kept.append(content[start:place])
        return Image.open(io.BytesIO(b"".join(kept)), formats=FORMATS)


@functools.cache
def _warn(text: str) -> None:
    log.warning(text)


def to_srgb(image: Image.Image, background: str | None, name: object = "image", alpha: bool = False) -> Image.Image:
    """An image as upright 8-bit sRGB; UserError if its values have no fixed range. Damaged metadata are ignored."""
    try:
        upright = ImageOps.exif_transpose(image)
    except Exception:  # Pillow's parser raises many types
        _warn(f"{name}: its EXIF data are damaged and are ignored.")
        upright = image
    profile = upright.info.get("icc_profile")
    if upright.mode.startswith("I;16"):  # 16 bits of gray; of 16 bits of color Pillow itself keeps the high byte
        gray = (np.asarray(upright) >> 8).astype(np.uint8)
        white_is_zero = _tags(image).get(PHOTOMETRIC_INTERPRETATION) == 0
        upright = Image.fromarray(255 - gray if white_is_zero else gray)
    if upright.mode in ("I", "F"):
        raise UserError(f"mode {upright.mode} has more than 16 bits or no fixed range; convert it to 8 or 16 bits.")
    if not upright.has_transparency_data:
        return _apply_profile(upright, profile, name)
    rgba = upright.convert("RGBA")
    result = _apply_profile(rgba.convert("RGB"), profile, name)
    if background is not None:
        below = Image.new("RGB", rgba.size, ImageColor.getrgb(background))
        result = Image.composite(result, below, rgba.getchannel("A"))
    if alpha:
        result.putalpha(rgba.getchannel("A"))
    return result


def resize_image(
    image: Image.Image, height: int, width: int, resize: str, way: Image.Resampling = Image.Resampling.BICUBIC
) -> Image.Image:
    """Make an image ``height`` × ``width``.

    ``crop`` keeps proportions and center, ``stretch`` keeps all of it, ``pad`` keeps both and is filled up at the right
    or below by reflection; ``fit`` is not filled up, and ``whole`` changes nothing. ``way`` is Pillow's resampling.
    """
    size = width, height
    if resize == "whole":
        return image
    if resize == "crop":
        return ImageOps.fit(image, size, way)
    if resize == "stretch":
        return image.resize(size, way)
    fitting = ImageOps.contain(image, size, way)
    if resize == "fit" or fitting.size == size:
        return fitting
    missing = (0, height - fitting.height), (0, width - fitting.width), (0, 0)
    values = np.asarray(fitting)
    return Image.fromarray(np.pad(values, missing[: values.ndim], "symmetric"))


def tell_crop_loss(sizes: Sequence[Sequence[int]], wanted: tuple[int, int]) -> None:
    """Log the mean share that a crop to ``wanted``, height and width, cuts off of images, width and height."""
    ratio = wanted[1] / wanted[0]
    lost = 1 - statistics.fmean(min(width / height / ratio, height / width * ratio) for width, height in sizes)
    if lost > 0.001:
        text = "Images of other proportions than %d×%d lose what is outside of their middle, %.0f %% on average. "
        log.info(text + "data.resize=stretch, pad and random_crop keep it.", *wanted[::-1], 100 * lost)


def _tags(image: Image.Image) -> Any:
    return getattr(image, "tag_v2", {})  # of a TIFF


def _apply_profile(image: Image.Image, profile: bytes | None, name: object) -> Image.Image:
    """Colors without alpha, in sRGB."""
    if profile is None:
        return image if image.mode == "RGB" else image.convert("RGB")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space == "RGB ":  # also in files of gray images and palettes
            image = image.convert("RGB")
        result = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (OSError, ImageCms.PyCMSError):
        _warn(f"{name}: its color profile is damaged and is ignored.")
        return image.convert("RGB")
    return cast(Image.Image, result)
