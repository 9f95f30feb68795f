"""Kinds of images: what their values mean, and how they are shown. ``data.values`` reads and writes them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from image_translation.cli.errors import UserError, one_of

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
        stored: its channels on the way to the device.
        parts: how many files are joined, their channels one after the other.
        dtype: of its values there: ``uint8``, ``uint16`` or ``float32``.
        low, high: the values that become −1 and 1.
        classes: of a mask, whose values are the numbers of classes.
        ignore: of a mask, the value of pixels that are of no class; None if all are of one.
        show: the channels that are shown as red, green and blue, or one for gray.
    """

    name: str = "rgb"
    stored: int = 3
    dtype: str = "uint8"
    low: float = 0.0
    high: float = 255.0
    classes: int = 0
    ignore: int | None = None
    show: tuple[int, ...] = (0, 1, 2)
    parts: int = 1

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
        return self.name in (*MODES, "mask") and self.parts == 1

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


def make_kinds(
    names: Mapping[str, str], parts: int, classes: int | None, ignore: int | None, value_range: Any, show: Any
) -> dict[str, Kind]:
    """The kinds of ``input`` and ``target``; UserError for options that neither of them has."""
    if value_range and "raw" not in names.values():
        raise UserError("range is for raw images only (also for 12 bits in 16-bit files: input=raw target=raw).")
    if (classes or ignore is not None) and "mask" not in names.values():
        raise UserError("classes and ignore are for masks only: input=mask or target=mask.")
    ranges = value_range if value_range and isinstance(value_range[0], Sequence) else (value_range,)
    return {"input": make_kind("input", names["input"], classes, ranges[0], show, parts, ignore),
            "target": make_kind("target", names["target"], classes, ranges[-1], show, 1, ignore)}  # fmt: skip


def make_kind(
    option: str,
    name: str,
    classes: int | None,
    value_range: Sequence[float] | None,
    show: Sequence[int] | None,
    parts: int = 1,
    ignore: int | None = None,
) -> Kind:
    """The kind of this name with what the options ``classes``, ``range``, ``show`` and ``ignore`` say of it."""
    kind = KINDS[one_of(option, name, KINDS)]
    kind = replace(kind, stored=kind.stored * parts, parts=parts)
    if name == "rgb16" and find_spec("imagecodecs") is None:  # or its results could not be written in the end
        raise UserError(f"{option}=rgb16 needs pip install 'image_translation[deep]'.")
    if name == "mask" and parts > 1:
        raise UserError(f"{option}=mask: several masks can't be joined.")
    if name == "mask":
        if not classes or not 2 <= classes <= 256:
            raise UserError(f"{option}=mask needs classes, how many there are, from 2 to 256; got {classes}.")
        if ignore is not None and ignore not in range(classes, 256):
            raise UserError(f"ignore must be no class but a number from {classes} to 255; got {ignore}.")
        return replace(kind, classes=classes, ignore=ignore)
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
            raise UserError(f"{option}=raw: only uint8 and uint16 have a range of their own. These values are of "
                            f"another type, read as {dtype}: data.range=[low,high]")  # fmt: skip
        kind = replace(kind, high=HIGHEST[dtype])
    fits = kind.show and len(kind.show) <= channels  # input and target share the option
    show = kind.show if fits else (0, 1, 2) if channels >= 3 else (0,)
    if len(show) not in (1, 3) or not all(0 <= channel < channels for channel in show):
        raise UserError(f"data.show={list(show)}: one or three channels from 0 to {channels - 1}.")
    return replace(kind, stored=channels, dtype=dtype, show=show)


def refuse_unknown(values: Array, kind: Kind, name: object) -> None:
    """UserError for a mask's values that are neither numbers of classes nor ignored, with what to do about them."""
    found = np.unique(values)
    unknown = [int(value) for value in found if value >= kind.classes and value != kind.ignore]
    if not unknown:
        return
    if found.max() == 255 and set(found) <= {0, 255}:
        hint = "Divide masks of 0 and 255 by 255"
    elif unknown == [255]:
        hint = "If these pixels are of no class: data.ignore=255"
    else:
        hint = f"Number classes from 0 on, say how many (data.classes={unknown[-1] + 1}?), and keep masks as PNG"
    raise UserError(f"{name}: has the class {unknown[-1]}, which data.classes={kind.classes} does not allow. {hint}.")


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
        return palette(kind).to(images.device)[images[..., 0, :, :].long()].movedim(-1, -3)
    if kind.name == "rgba":  # as on a white page
        alpha = images[..., 3:4, :, :].float() / 255
        return (255 - alpha * (255 - images[..., :3, :, :].float())).round().to(torch.uint8)
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


def palette(kind: Kind) -> Tensor:
    """A color (values, 3) for each value of a mask: black, then colors far from their neighbors; white for no class."""
    hues = [int(256 * i * GOLDEN) % 256 for i in range(kind.classes)]
    colors = [Image.new("HSV", (1, 1), (hue, 180, 230)).convert("RGB").getpixel((0, 0)) for hue in hues]
    beyond = 0 if kind.ignore is None else kind.ignore + 1 - kind.classes
    return torch.tensor([(0, 0, 0), *colors[1:], *[(255, 255, 255)] * beyond], dtype=torch.uint8)


def to_image(values: Array, kind: Kind) -> Image.Image:
    """Values (H, W, C) of an 8-bit kind as an image; a mask's has a palette."""
    image = Image.fromarray(values[..., 0] if values.shape[2] == 1 else values)
    if kind.classes:
        image.putpalette(palette(kind).flatten().tolist())
    return image
