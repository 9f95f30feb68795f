"""Reading picture files of every common kind as 8-bit sRGB."""

import io
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageCms, ImageColor, ImageOps, TiffImagePlugin, UnidentifiedImageError

from image_translation.data.layout import Layout
from image_translation.errors import UserError

FITS = ("crop", "squash")
BACKGROUND = "white"
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")  # and no other, whatever the extension: EPS runs Ghostscript
NO_CHANGE = 2  # 8-bit levels by which a profile may move a colour and be sRGB all the same
_ORIENTATION = 0x0112  # an EXIF tag
_BITS, _PHOTOMETRIC, _PLANES, _EXTRA, _SAMPLE_FORMAT = 258, 262, 284, 338, 339  # TIFF tags
_WHITE_IS_ZERO, _APART, _PREMULTIPLIED, _ALPHA, _UNSIGNED = 0, 2, 1, 2, 1  # values of these
_PROFILE_MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab ": "LAB"}


def read_picture(source: Path | bytes, name: object = None, background: str = BACKGROUND) -> Image.Image:
    """A file, or its bytes, as an upright 8-bit sRGB picture, decoded in full; of several frames or pages the first.

    16 bits a channel are scaled to 8 by the type's range, a colour profile is applied, EXIF orientation too.

    Args:
        source: the file.
        name: what to call it in a message.
        background: a colour as CSS has them, over which transparent pictures are laid.

    Raises:
        UserError: it is not a picture, or damaged, or too large, or of a kind that has no one meaning as 8-bit RGB; the
            text names the file.
    """
    name = name or source
    try:
        content = source if isinstance(source, bytes) else source.read_bytes()
        with open_picture(content) as picture:
            return _decode(picture, content, background)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    except UnidentifiedImageError as error:
        raise UserError(f"{name}: not a picture of a known kind ({', '.join(FORMATS)}).") from error
    except MemoryError:
        raise
    except Exception as error:  # bytes of any kind come here, and the decoders raise errors of any kind
        if isinstance(error, OSError) and error.errno:
            raise
        raise UserError(f"{name}: cannot be decoded ({error or type(error).__name__}).") from error


def open_picture(content: bytes) -> Image.Image:
    """A file's bytes as a picture of one of ``FORMATS``, not decoded yet.

    Raises:
        UnidentifiedImageError: it is none.
    """
    return Image.open(io.BytesIO(content), formats=FORMATS)


def to_srgb(picture: Image.Image, background: str = BACKGROUND) -> Image.Image:
    """A picture of up to 8 bits a channel, turned as its EXIF data say, in 8-bit sRGB.

    Raises:
        UserError: it has more than 8 bits a channel, or a colour profile that can't be used.
    """
    if picture.mode.startswith(("I", "F")):
        raise UserError(f"mode {picture.mode} has more than 16 bits or no fixed range; convert it to 8 or 16 bits.")
    upright = ImageOps.exif_transpose(picture)
    profile = upright.info.get("icc_profile")
    if not upright.has_transparency_data:
        return _in_srgb(upright, profile)
    rgba = upright.convert("RGBA")
    grey = upright.mode in ("1", "L", "LA", "La")
    colours = _in_srgb(rgba.convert("RGB").convert("L") if grey else rgba.convert("RGB"), profile)
    return Image.composite(colours, Image.new("RGB", rgba.size, ImageColor.getrgb(background)), rgba.getchannel("A"))


def fit_picture(picture: Image.Image, size: int, fit: str) -> Image.Image:
    """Make a picture ``size`` × ``size``: ``crop`` keeps its proportions and its centre, ``squash`` keeps all of it."""
    if picture.size == (size, size):
        return picture
    if fit == "crop":
        return ImageOps.fit(picture, (size, size), Image.Resampling.BICUBIC)
    return picture.resize((size, size), Image.Resampling.BICUBIC)


def split_halves(picture: Image.Image, layout: Layout) -> tuple[Image.Image, Image.Image]:
    """The input and target of an ``aligned`` picture: A is the left half, and the input unless ``direction=BtoA``."""
    middle = picture.width // 2
    left, right = picture.crop((0, 0, middle, picture.height)), picture.crop((middle, 0, picture.width, picture.height))
    return (left, right) if layout.direction == "AtoB" else (right, left)


def _decode(picture: Image.Image, content: bytes, background: str) -> Image.Image:
    most = Image.MAX_IMAGE_PIXELS
    if most and picture.width * picture.height > most:  # Pillow itself only warns up to twice as many
        raise UserError(
            f"{picture.width}×{picture.height} are more than {most:,} pixels, like a decompression bomb; scale it down."
        )
    deep = _is_deep(picture)
    if deep:
        _refuse_unknown_forms(picture)
    orientation = picture.getexif().get(_ORIENTATION, 1)
    picture.load()  # in full, also where another decoder does the work: Pillow notices a file that is cut short
    if deep:
        profile = picture.info.get("icc_profile")
        scaled = _scaled_to_8_bits(content)
        if isinstance(picture, TiffImagePlugin.TiffImageFile):
            scaled = _as_tiff_means(scaled, picture.tag_v2)
            orientation = 1  # OpenCV has turned it
        picture = scaled
        picture.getexif()[_ORIENTATION] = orientation
        if profile:
            picture.info["icc_profile"] = profile
    return to_srgb(picture, background)


def _is_deep(picture: Image.Image) -> bool:
    """Whether a picture has 16 bits a channel, of which Pillow would throw 8 away, or leave the scaling to us."""
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        formats = picture.tag_v2.get(_SAMPLE_FORMAT, (_UNSIGNED,))
        return 16 in picture.tag_v2.get(_BITS, ()) and set(formats) == {_UNSIGNED}
    tile = getattr(picture, "tile", None)
    if picture.format != "PNG" or not tile:
        return False
    raw = tile[0].args
    return ";16" in (raw if isinstance(raw, str) else raw[0])


def _refuse_unknown_forms(picture: Image.Image) -> None:
    """An error for 16 bits a channel in a form that OpenCV would not read rightly."""
    tags: Any = picture.tag_v2 if isinstance(picture, TiffImagePlugin.TiffImageFile) else {}
    if tags.get(_PLANES) == _APART and len(tags[_BITS]) > 1:
        raise UserError("16 bits a channel, and one channel after the other (planar); save it interleaved, or as PNG.")
    if (picture.mode.startswith("I") and "transparency" in picture.info) or _PREMULTIPLIED in tags.get(_EXTRA, ()):
        raise UserError("16 bits a channel with transparency in a form not known here; save it as 16-bit RGBA PNG.")


def _as_tiff_means(picture: Image.Image, tags: TiffImagePlugin.ImageFileDirectory_v2) -> Image.Image:
    """White may be zero, and a fourth channel is alpha only if it is said to be."""
    if picture.mode == "L" and tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        return ImageOps.invert(picture)
    if picture.mode == "RGBA" and tags.get(_EXTRA, (0,))[0] != _ALPHA:
        return picture.convert("RGB")
    return picture


def _scaled_to_8_bits(content: bytes) -> Image.Image:
    """Decode 16 bits a channel by OpenCV, because Pillow keeps only 8 of a colour's."""
    array = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None or array.dtype != np.uint16:
        raise UserError("16 bits a channel in a form that isn't known here; save it as a plain PNG.")
    scaled = ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)  # 65535 / 255 = 257
    if scaled.ndim == 2:
        return Image.fromarray(scaled)
    order = [2, 1, 0, 3][: scaled.shape[2]]  # OpenCV's order is BGR
    return Image.fromarray(np.ascontiguousarray(scaled[..., order]))


def _in_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """Colours without alpha, by their profile."""
    if profile and (transform := _transform(profile)):
        mode, apply = transform
        if mode == "RGB" and picture.mode in ("1", "L", "P"):
            picture = picture.convert("RGB")
        if mode != picture.mode:
            raise UserError(f"its colour profile is for {mode}, but the picture is {picture.mode}; remove the profile.")
        return apply.apply(picture)
    if picture.mode == "LAB":
        return _from_lab().apply(picture)
    return picture.convert("RGB")


@lru_cache(maxsize=64)
def _transform(profile: bytes) -> tuple[str, ImageCms.ImageCmsTransform] | None:
    """The mode that a profile is for, and its way to sRGB; None if that changes nothing, whatever its name is."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _PROFILE_MODES.get(source.profile.xcolor_space, source.profile.xcolor_space.strip())
        transform = ImageCms.buildTransform(source, _srgb(), mode, "RGB")
    except (OSError, ImageCms.PyCMSError) as error:
        raise UserError(f"its colour profile cannot be used ({error}); remove it or save the picture anew.") from error
    colours = _many_colours(mode)
    if colours is None:
        return mode, transform
    moved = np.asarray(transform.apply(colours)).astype(int) - np.asarray(colours.convert("RGB"))
    return None if np.abs(moved).max() <= NO_CHANGE else (mode, transform)


def _many_colours(mode: str) -> Image.Image | None:
    """A picture of colours all over a colour space; None where its numbers are no red, green and blue."""
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
