"""Kinds of images: what their values mean, and how they are read, shown and written."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from image_translation.cli.errors import UserError, one_of
from image_translation.data.images import open_image, read_image, resize_image

Array = np.ndarray[Any, Any]
Stored = Image.Image | Array  # 8 bits as Pillow has them, others as (H, W, C)
DTYPES = {"uint8": torch.uint8, "uint16": torch.uint16, "float32": torch.float32}
HIGHEST = {"uint8": 255.0, "uint16": 65535.0}
MODES = {"rgb": "RGB", "grey": "L", "rgba": "RGBA"}  # Pillow's
GOLDEN = 0.618034  # of the color circle, between the colors of two classes


@dataclass(frozen=True)
class Kind:
    """What the values of an image mean.

    Attributes:
        name: of ``KINDS``.
        stored: its channels in files and on the way to the device.
        dtype: of its values there: ``uint8``, ``uint16`` or ``float32``.
        low, high: the values that become −1 and 1.
        classes: of a mask, whose values are the numbers of classes.
        show: the channels that are shown as red, green and blue, or one for gray.
    """

    name: str = "rgb"
    stored: int = 3
    dtype: str = "uint8"
    low: float = 0.0
    high: float = 255.0
    classes: int = 0
    show: tuple[int, ...] = (0, 1, 2)

    @property
    def channels(self) -> int:
        """Channels in a batch: of a mask one for each class."""
        return self.classes or self.stored

    @property
    def peak(self) -> float:
        return self.high - self.low

    @property
    def scale(self) -> dict[str, Any]:
        """What its metrics must know: see ``ImageScores``."""
        return {"peak": self.peak, "classes": self.classes}

    @property
    def torch_dtype(self) -> torch.dtype:
        return DTYPES[self.dtype]

    @property
    def suffix(self) -> str:
        """Of files that hold all of its values."""
        return ".npy" if self.name == "raw" else ".png"

    @property
    def is_8_bit(self) -> bool:
        """Whether an image file shows it as it is."""
        return self.name in (*MODES, "mask")

    def describe(self) -> dict[str, Any]:
        """As plain values, for checkpoints; ``Kind.of`` takes them back."""
        return asdict(self) | {"show": list(self.show)}

    @staticmethod
    def of(description: Mapping[str, Any] | None) -> "Kind":
        """The kind that ``describe`` returned; of models from before there were kinds, ``rgb``."""
        if description is None:
            return RGB
        return Kind(**{**description, "show": tuple(description["show"])})


RGB = Kind()
PHOTOS = {"input": RGB, "target": RGB}
KINDS = {
    "rgb": RGB,
    "grey": Kind("grey", 1, show=(0,)),
    "rgba": Kind("rgba", 4),
    "grey16": Kind("grey16", 1, "uint16", high=HIGHEST["uint16"], show=(0,)),
    "rgb16": Kind("rgb16", 3, "uint16", high=HIGHEST["uint16"]),
    "mask": Kind("mask", 1, show=()),
    "raw": Kind("raw", 0, "", high=0.0, show=()),  # the rest is told by the data
}


def make_kind(
    option: str, name: str, classes: int | None, value_range: Sequence[float] | None, show: Sequence[int] | None
) -> Kind:
    """The kind of this name with what the options ``data.classes``, ``data.range`` and ``data.show`` say of it."""
    kind = KINDS[one_of(option, name, KINDS)]
    if name == "mask":
        if not classes or not 2 <= classes <= 256:
            raise UserError(f"{option}=mask needs classes, how many there are, from 2 to 256; got {classes}.")
        return replace(kind, classes=classes)
    if name != "raw":
        return kind
    if value_range is not None:
        if len(value_range) != 2 or not value_range[0] < value_range[1]:
            raise UserError(f"range must be [low,high] with low < high, got {value_range}.")
        kind = replace(kind, low=float(value_range[0]), high=float(value_range[1]))
    return replace(kind, show=tuple(show or ()))


def complete(kind: Kind, option: str, forms: set[tuple[int, str]]) -> Kind:
    """A kind with what is told by the data: the channels and the type of all its images.

    Raises:
        UserError: they differ, or their values have no range, or ``show`` names a channel that they lack.
    """
    if kind.name != "raw" or not forms:
        return kind
    if len(forms) > 1:
        found = " and ".join(f"{channels} × {dtype}" for channels, dtype in sorted(forms))
        raise UserError(f"{option}=raw: all images must have the same channels and type, found {found}.")
    ((channels, dtype),) = forms
    if not kind.peak:
        if dtype not in HIGHEST:
            raise UserError(f"{option}=raw: values of type {dtype} have no range of their own: data.range=[low,high]")
        kind = replace(kind, high=HIGHEST[dtype])
    show = kind.show or ((0, 1, 2) if channels >= 3 else (0,))
    if len(show) not in (1, 3) or not all(0 <= channel < channels for channel in show):
        raise UserError(f"data.show={list(show)}: one or three channels from 0 to {channels - 1}.")
    return replace(kind, stored=channels, dtype=dtype, show=show)


def read(content: bytes, name: Path, kind: Kind, background: str) -> Stored:
    """The bytes of a file as an image of a kind; UserError with the file's name if they are none."""
    if kind.name == "rgba":
        return read_image(content, name, None, alpha=True).convert("RGBA")
    if kind.name in MODES:
        return read_image(content, name, background).convert(MODES[kind.name])
    if kind.name == "mask":
        return _read_mask(content, name, kind)
    array = _read_array(content, name)
    if kind.name == "raw":
        return array
    if array.dtype == np.uint8:
        array = array.astype(np.uint16) * 257  # 255 becomes 65535
    if array.dtype != np.uint16 or array.shape[2] != kind.stored:
        found = f"{array.shape[2]} channels of {array.dtype}"
        raise UserError(f"{name}: {kind.name} has {kind.stored} of 8 or 16 bits; found {found}. data.input and "
                        "data.target say what images are.")  # fmt: skip
    return array


def _read_mask(content: bytes, name: Path, kind: Kind) -> Image.Image:
    """A gray or palette image whose values are the numbers of classes."""
    with open_image(content, name) as image:
        values = np.asarray(image)
        if values.ndim == 3 and (values == values[..., :1]).all():
            values = values[..., 0]
    if values.ndim == 3:
        raise UserError(f"{name}: has colors; a mask is a gray or palette image, whose values are numbers of classes.")
    if values.max() >= kind.classes:
        raise UserError(f"{name}: has the class {values.max()}, which data.classes={kind.classes} does not allow.")
    return Image.fromarray(values.astype(np.uint8))


def _read_array(content: bytes, name: Path) -> Array:
    """An array (H, W, C) of uint8, uint16 or float32."""
    array: Array
    try:
        if content.startswith(b"\x93NUMPY"):
            array = np.load(io.BytesIO(content), allow_pickle=False)
        elif content[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            array = _read_tiff(content, name)
        elif content.startswith(b"\x89PNG"):
            import imagecodecs

            array = imagecodecs.png_decode(content)
        else:
            array = np.asarray(read_image(content, name, "white"))
    except ImportError as error:
        raise UserError(f"{name}: {error}. Such files need more packages: pip install 'image_translation[deep]'"
                        ) from error  # fmt: skip
    except UserError:
        raise
    except Exception as error:  # each decoder has its own
        raise UserError(f"{name}: cannot be decoded ({error}).") from error
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or not array.size or array.dtype.kind not in "buif":
        raise UserError(f"{name}: expected height × width × channels of numbers, found {array.shape} of {array.dtype}.")
    if array.dtype.name not in DTYPES:
        array = array.astype(np.uint8 if array.dtype == bool else np.float32)
    if not np.isfinite(array).all():
        raise UserError(f"{name}: has values that are NaN or infinite.")
    return array


def _read_tiff(content: bytes, name: Path) -> Array:
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


def form_of(image: Stored) -> tuple[int, str]:
    """Channels and type of an image."""
    if isinstance(image, Image.Image):
        return len(image.getbands()), "uint8"
    return image.shape[2], image.dtype.name


def size_of(image: Stored) -> tuple[int, int]:
    """Width and height."""
    return image.size if isinstance(image, Image.Image) else (image.shape[1], image.shape[0])


def to_tensor(image: Stored) -> Tensor:
    """(C, H, W) of the stored type."""
    array = np.array(image)  # a copy, which may be written to
    return torch.from_numpy(array[..., None] if array.ndim == 2 else array).permute(2, 0, 1)


def to_shown(images: Tensor, kind: Kind) -> Tensor:
    """Stored values (..., C, H, W) as uint8 (..., 3, H, W) for eyes; of masks each class has a color of its own."""
    if kind.classes:
        return palette(kind.classes).to(images.device)[images[..., 0, :, :].long()].movedim(-1, -3)
    if kind.dtype != "uint8" or kind.name == "raw":
        images = ((images.float() - kind.low) * (255 / kind.peak)).clamp(0, 255).round().to(torch.uint8)
    shown = images[..., list(kind.show), :, :]
    return shown if len(kind.show) == 3 else shown.expand(*shown.shape[:-3], 3, *shown.shape[-2:])


def shown_image(image: Stored, kind: Kind, option: str) -> Image.Image:
    """An image for eyes, as RGB; UserError if it is raw and its values have no range."""
    if isinstance(image, Image.Image) and image.mode == "RGB":
        return image
    shown = to_shown(to_tensor(image), complete(kind, option, {form_of(image)}))
    return Image.fromarray(shown.permute(1, 2, 0).contiguous().numpy())


def palette(classes: int) -> Tensor:
    """A color (classes, 3) for each class: black, then colors that are far from their neighbors."""
    hues = [int(256 * i * GOLDEN) % 256 for i in range(classes)]
    colors = [Image.new("HSV", (1, 1), (hue, 180, 230)).convert("RGB").getpixel((0, 0)) for hue in hues]
    return torch.tensor([(0, 0, 0), *colors[1:]], dtype=torch.uint8)


def to_image(values: Array, kind: Kind) -> Image.Image:
    """Values (H, W, C) of an 8-bit kind as an image; a mask's has a palette."""
    image = Image.fromarray(values[..., 0] if values.shape[2] == 1 else values)
    if kind.classes:
        image.putpalette(palette(kind.classes).flatten().tolist())
    return image


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
