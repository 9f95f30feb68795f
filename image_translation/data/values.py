"""Files of every kind of image, to values and back: arrays (H, W, C), or Pillow's images where 8 bits hold them."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_png

from image_translation.cli.errors import UserError
from image_translation.data.images import open_image, read_image, resize_image
from image_translation.data.kinds import DTYPES, HIGHEST, MODES, Array, Kind, Stored, refuse_unknown, to_image

LOWEST = 16  # an array that is lower, but not narrower, and has as many channels, has its channels first


def read(content: bytes, name: object, kind: Kind, background: str, least: int | None = None) -> Stored:
    """The bytes of a file as an image of a kind; UserError with the file's name if they are none.

    ``least``: see ``images.read_image``.
    """
    if kind.name == "rgba":
        return read_image(content, name, None, alpha=True).convert("RGBA")
    if kind.name in MODES:
        return read_image(content, name, background, least=least).convert(MODES[kind.name])
    if kind.name == "mask":
        return _read_mask(content, name, kind)
    array = _read_array(content, name)
    if kind.name == "raw":
        return array
    channels = kind.stored // kind.parts
    if array.dtype.name not in HIGHEST or array.shape[2] != channels:
        raise UserError(f"{name}: {kind.name} has {channels} of 8 or 16 bits; found {array.shape[2]} channels of "
                        f"{array.dtype}. Convert it, or say what images are: data.input and data.target "
                        f"({kind.name[:-2]} reads any file in 8 bits).")  # fmt: skip
    return array if array.dtype == np.uint16 else array.astype(np.uint16) * 257  # 255 becomes 65535


def _read_mask(content: bytes, name: object, kind: Kind) -> Image.Image:
    """A gray or palette image whose values are the numbers of classes."""
    with open_image(content, name) as image:
        values = np.asarray(image)
        if values.ndim == 3 and (values == values[..., :1]).all():
            values = values[..., 0]
    if values.ndim == 3:
        raise UserError(f"{name}: has colors; a mask is a gray or palette image, whose values are numbers of classes. "
                        "Write each color's number in its place: mask[(colors == color).all(-1)] = number")  # fmt: skip
    refuse_unknown(values, kind, name)
    return Image.fromarray(values.astype(np.uint8))


def _read_array(content: bytes, name: object) -> Array:
    """An array (H, W, C) of uint8, uint16 or float32."""
    array: Array
    try:
        if content.startswith(b"\x93NUMPY"):
            array = np.load(io.BytesIO(content), allow_pickle=False)
        elif content[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            array = _read_tiff(content, name)
        elif content.startswith(b"\x89PNG"):
            decoded = decode_png(torch.frombuffer(bytearray(content), dtype=torch.uint8), ImageReadMode.UNCHANGED)
            array = decoded.permute(1, 2, 0).numpy()
        else:
            with open_image(content, name) as image:
                mode = "L" if image.mode == "L" else "RGB"
            array = np.asarray(read_image(content, name, "white").convert(mode))
    except UserError:
        raise
    except Exception as error:  # each decoder has its own; tifffile names the package that it lacks
        raise UserError(f"{name}: cannot be decoded ({error}).") from error
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or not array.size or array.dtype.kind not in "buif":
        raise UserError(f"{name}: expected height × width × channels of numbers, found {array.shape} of {array.dtype}.")
    if len(array) < LOWEST <= min(array.shape[1:]):
        raise UserError(f"{name}: found height × width × channels {array.shape}; if its channels come first, save "
                        "np.moveaxis(array, 0, -1) instead.")  # fmt: skip
    if array.dtype.name not in DTYPES:
        array = array.astype(np.uint8 if array.dtype == bool else np.float32)
    if not np.isfinite(array).all():
        raise UserError(f"{name}: has values that are NaN or infinite.")
    return array


def _read_tiff(content: bytes, name: object) -> Array:
    """Height, width, and what there is of channels, whether in a pixel, in planes or in pages."""
    import tifffile

    with tifffile.TiffFile(io.BytesIO(content)) as file:
        series = file.series[0]
        array, axes = series.asarray(), series.axes
    channels = [axis for axis in axes if axis not in "YX"]
    if len(channels) > 1 or not {"Y", "X"} <= set(axes):
        raise UserError(f"{name}: its axes are {axes}; expected height, width and channels.")
    upright: Array = np.transpose(array, [axes.index(axis) for axis in ("Y", "X", *channels)])
    return upright


def resized(image: Stored, kind: Kind, height: int, width: int, resize: str) -> Stored:
    """An image as ``images.resize_image`` makes it; a mask by its nearest pixels, others by bicubic interpolation."""
    way = Image.Resampling.NEAREST if kind.classes else Image.Resampling.BICUBIC
    if isinstance(image, Image.Image):
        return resize_image(image, height, width, resize, way)
    if resize == "whole":
        return image
    channels = [Image.fromarray(channel.astype(np.float32)) for channel in np.moveaxis(image, -1, 0)]
    values = np.stack([np.asarray(resize_image(channel, height, width, resize, way)) for channel in channels], -1)
    if image.dtype.kind == "f":
        return values
    rounded: Array = values.clip(0, np.iinfo(image.dtype).max).round().astype(image.dtype)
    return rounded


def join(images: Sequence[Stored], name: object) -> Stored:
    """One image with the channels of several of the same size and type; UserError with their ``name`` otherwise."""
    if len(images) == 1:
        return images[0]
    arrays = [np.asarray(image) for image in images]
    arrays = [array[..., None] if array.ndim == 2 else array for array in arrays]
    forms = {(*array.shape[:2], array.dtype.name) for array in arrays}
    if len(forms) > 1:
        found = " and ".join(f"{width}×{height} of {dtype}" for height, width, dtype in sorted(forms))
        raise UserError(f"{name}: images of different sizes or types can't be joined: {found}.")
    joined: Array = np.concatenate(arrays, axis=-1)
    return joined


def encode(values: Array, kind: Kind, suffix: str) -> bytes:
    """Values (H, W, C) as a file with the kind's own ``suffix``, or a TIFF file."""
    buffer = io.BytesIO()
    if suffix in (".tif", ".tiff"):
        import tifffile

        photometric = "rgb" if kind.stored in (3, 4) and kind.name != "raw" else "minisblack"
        form: dict[str, Any] = {"photometric": photometric, "compression": "zlib"}
        if values.shape[2] == 1:
            tifffile.imwrite(buffer, values[..., 0], **form)
        else:
            tifffile.imwrite(buffer, values, planarconfig="contig", **form)
    elif kind.name == "raw":
        np.save(buffer, values)
    elif kind.name == "rgb16":
        import imagecodecs

        buffer.write(imagecodecs.png_encode(values))
    elif kind.name == "grey16":
        Image.fromarray(values[..., 0]).save(buffer, "PNG")
    else:
        to_image(values, kind).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
