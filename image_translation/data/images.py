"""Reading image files of every common kind as 8-bit sRGB."""

import io
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageCms, ImageColor, ImageOps, TiffImagePlugin, UnidentifiedImageError

from image_translation.cli.errors import UserError
from image_translation.data.layout import Layout

RESIZES = ("crop", "stretch")
BACKGROUND = "white"
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")  # and no other, whatever the extension: EPS runs Ghostscript
NO_CHANGE = 2  # 8-bit levels by which a profile may move a color and be sRGB all the same
_ORIENTATION = 0x0112  # an EXIF tag
_BITS, _PHOTOMETRIC, _PLANES, _EXTRA, _SAMPLE_FORMAT = 258, 262, 284, 338, 339  # TIFF tags
_WHITE_IS_ZERO, _APART, _PREMULTIPLIED, _ALPHA, _UNSIGNED = 0, 2, 1, 2, 1  # values of these
_PROFILE_MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab ": "LAB"}


def read_image(source: Path | bytes, name: object = None, background: str = BACKGROUND) -> Image.Image:
    """A file, or its bytes, as an upright 8-bit sRGB image, decoded in full; of several frames or pages the first.

    16 bits a channel are scaled to 8 by the type's range, a color profile is applied, EXIF orientation too.

    Args:
        source: the file.
        name: what to call it in a message.
        background: a color as CSS has them, over which transparent images are laid.

    Raises:
        UserError: it is not a image, or damaged, or too large, or of a kind that has no one meaning as 8-bit RGB; the
            text names the file.
    """
    name = name or source
    try:
        content = source if isinstance(source, bytes) else source.read_bytes()
        with open_image(content) as image:
            return _decode(image, content, background)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    except UnidentifiedImageError as error:
        raise UserError(f"{name}: not a image of a known kind ({', '.join(FORMATS)}).") from error
    except MemoryError:
        raise
    except Exception as error:  # bytes of any kind come here, and the decoders raise errors of any kind
        if isinstance(error, OSError) and error.errno:
            raise
        raise UserError(f"{name}: cannot be decoded ({error or type(error).__name__}).") from error


def open_image(content: bytes) -> Image.Image:
    """A file's bytes as a image of one of ``FORMATS``, not decoded yet.

    Raises:
        UnidentifiedImageError: it is none.
    """
    return Image.open(io.BytesIO(content), formats=FORMATS)


def to_srgb(image: Image.Image, background: str = BACKGROUND) -> Image.Image:
    """A image of up to 8 bits a channel, turned as its EXIF data say, in 8-bit sRGB.

    Raises:
        UserError: it has more than 8 bits a channel, or a color profile that can't be used.
    """
    if image.mode.startswith(("I", "F")):
        raise UserError(f"mode {image.mode} has more than 16 bits or no fixed range; convert it to 8 or 16 bits.")
    upright = ImageOps.exif_transpose(image)
    profile = upright.info.get("icc_profile")
    if not upright.has_transparency_data:
        return _in_srgb(upright, profile)
    rgba = upright.convert("RGBA")
    gray = upright.mode in ("1", "L", "LA", "La")
    colors = _in_srgb(rgba.convert("RGB").convert("L") if gray else rgba.convert("RGB"), profile)
    return Image.composite(colors, Image.new("RGB", rgba.size, ImageColor.getrgb(background)), rgba.getchannel("A"))


def resize_image(image: Image.Image, size: int, resize: str) -> Image.Image:
    """Make a image ``size`` × ``size``: ``crop`` keeps its proportions and its center, ``stretch`` keeps all of it."""
    if image.size == (size, size):
        return image
    if resize == "crop":
        return ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
    return image.resize((size, size), Image.Resampling.BICUBIC)


def split_halves(image: Image.Image, layout: Layout) -> tuple[Image.Image, Image.Image]:
    """The input and target of an ``aligned`` image: A is the left half, and the input unless ``direction=BtoA``."""
    middle = image.width // 2
    left, right = image.crop((0, 0, middle, image.height)), image.crop((middle, 0, image.width, image.height))
    return (left, right) if layout.direction == "AtoB" else (right, left)


def _decode(image: Image.Image, content: bytes, background: str) -> Image.Image:
    most = Image.MAX_IMAGE_PIXELS
    if most and image.width * image.height > most:  # Pillow itself only warns up to twice as many
        raise UserError(
            f"{image.width}×{image.height} are more than {most:,} pixels, like a decompression bomb; scale it down."
        )
    deep = _is_deep(image)
    if deep:
        _refuse_unknown_forms(image)
    orientation = image.getexif().get(_ORIENTATION, 1)
    image.load()  # in full, also where another decoder does the work: Pillow notices a file that is cut short
    if deep:
        profile = image.info.get("icc_profile")
        scaled = _scaled_to_8_bits(content)
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            scaled = _as_tiff_means(scaled, image.tag_v2)
            orientation = 1  # OpenCV has turned it
        image = scaled
        image.getexif()[_ORIENTATION] = orientation
        if profile:
            image.info["icc_profile"] = profile
    return to_srgb(image, background)


def _is_deep(image: Image.Image) -> bool:
    """Whether a image has 16 bits a channel, of which Pillow would throw 8 away, or leave the scaling to us."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        formats = image.tag_v2.get(_SAMPLE_FORMAT, (_UNSIGNED,))
        return 16 in image.tag_v2.get(_BITS, ()) and set(formats) == {_UNSIGNED}
    tile = getattr(image, "tile", None)
    if image.format != "PNG" or not tile:
        return False
    raw = tile[0].args
    return ";16" in (raw if isinstance(raw, str) else raw[0])


def _refuse_unknown_forms(image: Image.Image) -> None:
    """An error for 16 bits a channel in a form that OpenCV would not read rightly."""
    tags: Any = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    if tags.get(_PLANES) == _APART and len(tags[_BITS]) > 1:
        raise UserError("16 bits a channel, and one channel after the other (planar); save it interleaved, or as PNG.")
    if (image.mode.startswith("I") and "transparency" in image.info) or _PREMULTIPLIED in tags.get(_EXTRA, ()):
        raise UserError("16 bits a channel with transparency in a form not known here; save it as 16-bit RGBA PNG.")


def _as_tiff_means(image: Image.Image, tags: TiffImagePlugin.ImageFileDirectory_v2) -> Image.Image:
    """White may be zero, and a fourth channel is alpha only if it is said to be."""
    if image.mode == "L" and tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        return ImageOps.invert(image)
    if image.mode == "RGBA" and tags.get(_EXTRA, (0,))[0] != _ALPHA:
        return image.convert("RGB")
    return image


def _scaled_to_8_bits(content: bytes) -> Image.Image:
    """Decode 16 bits a channel by OpenCV, because Pillow keeps only 8 of a color's."""
    array = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None or array.dtype != np.uint16:
        raise UserError("16 bits a channel in a form that isn't known here; save it as a plain PNG.")
    scaled = ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)  # 65535 / 255 = 257
    if scaled.ndim == 2:
        return Image.fromarray(scaled)
    order = [2, 1, 0, 3][: scaled.shape[2]]  # OpenCV's order is BGR
    return Image.fromarray(np.ascontiguousarray(scaled[..., order]))


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Colors without alpha, by their profile."""
    if profile and (transform := _transform(profile)):
        mode, apply = transform
        if mode == "RGB" and image.mode in ("1", "L", "P"):
            image = image.convert("RGB")
        if mode != image.mode:
            raise UserError(f"its color profile is for {mode}, but the image is {image.mode}; remove the profile.")
        return apply.apply(image)
    if image.mode == "LAB":
        return _from_lab().apply(image)
    return image.convert("RGB")


@lru_cache(maxsize=64)
def _transform(profile: bytes) -> tuple[str, ImageCms.ImageCmsTransform] | None:
    """The mode that a profile is for, and its way to sRGB; None if that changes nothing, whatever its name is."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _PROFILE_MODES.get(source.profile.xcolor_space, source.profile.xcolor_space.strip())
        transform = ImageCms.buildTransform(source, _srgb(), mode, "RGB")
    except (OSError, ImageCms.PyCMSError) as error:
        raise UserError(f"its color profile cannot be used ({error}); remove it or save the image anew.") from error
    colors = _many_colors(mode)
    if colors is None:
        return mode, transform
    moved = np.asarray(transform.apply(colors)).astype(int) - np.asarray(colors.convert("RGB"))
    return None if np.abs(moved).max() <= NO_CHANGE else (mode, transform)


def _many_colors(mode: str) -> Image.Image | None:
    """A image of colors all over a color space; None where its numbers are no red, green and blue."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    if mode == "RGB":
        levels = np.linspace(0, 255, 18).astype(np.uint8)
        return Image.fromarray(np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(18, -1, 3))
    return None


@lru_cache(maxsize=1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@lru_cache(maxsize=1)
def _from_lab() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), _srgb(), "LAB", "RGB")
