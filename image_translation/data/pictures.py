"""Reading picture files of every common kind as 8-bit sRGB."""

import io
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageCms, ImageColor, ImageOps, TiffImagePlugin, UnidentifiedImageError

from image_translation.data.layout import Layout
from image_translation.errors import UserError

FITS = ("crop", "squash")
BACKGROUND = "white"
_ORIENTATION, _WHITE_IS_ZERO = 0x0112, 0  # an EXIF tag, and a value of TIFF's PhotometricInterpretation
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
        with Image.open(io.BytesIO(content)) as picture:
            return _decode(picture, content, background)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    except UnidentifiedImageError as error:
        raise UserError(f"{name}: not a picture.") from error
    except MemoryError:
        raise
    except Exception as error:  # bytes of any kind come here, and the decoders raise errors of any kind
        if isinstance(error, OSError) and error.errno:
            raise
        raise UserError(f"{name}: cannot be decoded ({error or type(error).__name__}).") from error


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
    if deep and ((picture.mode.startswith("I") and "transparency" in picture.info) or _is_premultiplied(picture)):
        raise UserError("16 bits a channel with transparency in a form not known here; save it as 16-bit RGBA PNG.")
    orientation = picture.getexif().get(_ORIENTATION, 1)
    picture.load()  # in full, also where another decoder does the work: Pillow notices a file that is cut short
    if deep:
        profile = picture.info.get("icc_profile")
        is_tiff = picture.format == "TIFF"
        picture = _scaled_to_8_bits(content, inverted=_is_inverted(picture))
        picture.getexif()[_ORIENTATION] = 1 if is_tiff else orientation  # OpenCV turns TIFF itself
        if profile:
            picture.info["icc_profile"] = profile
    return to_srgb(picture, background)


def _is_deep(picture: Image.Image) -> bool:
    """Whether a picture has 16 bits a channel, of which Pillow would throw 8 away, or leave the scaling to us."""
    tile = getattr(picture, "tile", None)
    if picture.format not in ("PNG", "TIFF") or not tile:  # BMP's 16 bits are those of a whole pixel
        return False
    raw = tile[0].args
    raw = raw if isinstance(raw, str) else raw[0]
    return isinstance(raw, str) and (";16" in raw) and not raw.endswith("S")


def _is_inverted(picture: Image.Image) -> bool:
    return isinstance(picture, TiffImagePlugin.TiffImageFile) and picture.tag_v2.get(262) == _WHITE_IS_ZERO


def _is_premultiplied(picture: Image.Image) -> bool:
    return isinstance(picture, TiffImagePlugin.TiffImageFile) and 1 in picture.tag_v2.get(338, ())


def _scaled_to_8_bits(content: bytes, inverted: bool) -> Image.Image:
    """Decode 16 bits a channel by OpenCV, because Pillow keeps only 8 of a colour's."""
    array = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None or array.dtype != np.uint16:
        raise UserError("16 bits a channel in a form that isn't known here; save it as a plain PNG.")
    scaled = ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)  # 65535 / 255 = 257
    if scaled.ndim == 2:
        return Image.fromarray(255 - scaled if inverted else scaled)
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
    """The mode that a profile is for, and its way to sRGB; None if it is sRGB already."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if ImageCms.getProfileDescription(source).startswith("sRGB"):
            return None
        mode = _PROFILE_MODES.get(source.profile.xcolor_space, source.profile.xcolor_space.strip())
        return mode, ImageCms.buildTransform(source, _srgb(), mode, "RGB")
    except (OSError, ImageCms.PyCMSError) as error:
        raise UserError(f"its colour profile cannot be used ({error}); remove it or save the picture anew.") from error


@lru_cache(maxsize=1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@lru_cache(maxsize=1)
def _from_lab() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), _srgb(), "LAB", "RGB")
