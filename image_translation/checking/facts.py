"""What is measured on each pair: sizes, colors, hashes, and how well input and target agree."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy import fft, ndimage

from image_translation.data.images import in_threads
from image_translation.data.integrity import Decoded, pixel_digest
from image_translation.data.sources.base import Pair

Array = NDArray[np.float32]

SIDE = 256  # images are compared at this size, at most
THUMB = 24
FEW = 8  # pairs; smaller sets say nothing about what is usual


@dataclass(eq=False)
class Half:
    """One image of a pair: the input or the target."""

    size: tuple[int, int]  # width, height
    digest: str | None  # of the pixels; None if all have the same color
    hashes: tuple[int, ...]  # perceptual hashes (64 bits) of the image and of the flipped image
    thumb: NDArray[np.uint8]  # (THUMB, THUMB, 3)
    edges: Array  # (SIDE / 8, SIDE / 8), standardized
    is_gray: bool
    is_drawn: bool  # has at most 64 colors: a mask or a label map
    peak: int  # the highest value, 0 … 255


class Agreement(NamedTuple):
    """How well input and target agree: correlations of their edges, 1 for the same edges."""

    as_is: float = 0.0
    flipped: float = 0.0  # with the input flipped
    shifted: float = 0.0  # with the target moved back by ``shift``
    shift: tuple[float, float] = (0.0, 0.0)  # of the target against the input, right and down in pixels
    equal: float = 0.0  # the share of edges with the same gray value, less the share if flipped or shifted


Images = dict[str, Image.Image]  # by half, for eyes


@dataclass(eq=False)
class Facts:
    """One pair."""

    split: str
    pair: Pair
    digests: list[str]  # of the files' bytes
    problems: list[str]  # for which it can't be used
    read: Callable[[], Images]  # decodes its halves again
    halves: dict[str, Half]  # "input" and "target", as far as they come from files
    agreement: Agreement

    @property
    def name(self) -> str:
        return f"{self.split}/{self.pair.name}"


def gather(
    splits: Mapping[str, Sequence[Pair]], read: Callable[[Pair], tuple[Decoded, dict[str, Image.Image]]]
) -> Iterator[Facts]:
    """Decode and measure every pair, with a progress bar."""

    def examine(item: tuple[str, Pair]) -> Facts:
        split, pair = item
        decoded, images = read(pair)
        small = {half: thumbnail(image, SIDE) for half, image in images.items()}
        halves = {half: _measure(image, small[half]) for half, image in images.items()}
        agreement = Agreement()
        if len(small) == 2 and small["input"].size == small["target"].size:
            scale = images["target"].width / small["target"].width
            agreement = _compare(_gray_and_edges(small["input"]), _gray_and_edges(small["target"]), scale)
        digests, problems = decoded.digests, decoded.problems
        return Facts(split, pair, digests, problems, lambda: read(pair)[1], halves, agreement)

    return in_threads(examine, [(split, pair) for split in splits for pair in splits[split]], "Checking every pair")


def agreement_between(source: Facts, target: Facts) -> float:
    """How well one pair's input agrees with another pair's target; both are decoded again."""
    images = source.read()["input"], target.read()["target"]
    a, b = (_gray_and_edges(thumbnail(image, SIDE)) for image in images)
    return _agree(a, b)[0] if a.shape == b.shape else 0.0


def thumbnail(image: Image.Image, side: int) -> Image.Image:
    """A copy of at most ``side`` × ``side`` pixels."""
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.BOX)
    return small


def standardize(maps: NDArray[Any], axis: tuple[int, ...] | None = None) -> Array:
    """To mean 0 and length 1, so that the sum of the product of two is their correlation."""
    centered = maps - maps.mean(axis, keepdims=True, dtype=np.float32)
    result: Array = centered / np.maximum(np.sqrt((centered**2).sum(axis, keepdims=True)), np.float32(1e-6))
    return result


def _measure(image: Image.Image, small: Image.Image) -> Half:
    edges = _gray_and_edges(small.resize((SIDE, SIDE), Image.Resampling.BILINEAR))[1]
    return Half(
        size=image.size,
        digest=pixel_digest(image),
        hashes=tuple(int(str(imagehash.phash(view)), 16) for view in (small, ImageOps.mirror(small))),
        thumb=np.asarray(small.resize((THUMB, THUMB), Image.Resampling.BOX)),
        edges=standardize(edges.reshape(SIDE // 8, 8, SIDE // 8, 8).mean(axis=(1, 3))),
        is_gray=bool(np.percentile(np.ptp(np.asarray(small), axis=2), 99) <= 6),  # as JPEG may leave it
        is_drawn=image.getcolors(64) is not None,
        peak=int(np.asarray(small).max()),
    )


def _gray_and_edges(image: Image.Image) -> Array:
    """(2, H, W): the gray values in [0, 1], and how strong the edges are, with weak ones raised."""
    gray = np.asarray(image.convert("L"), np.float32) / np.float32(255)
    blurred = ndimage.gaussian_filter(gray, 1.5)
    return np.stack([gray, np.sqrt(np.hypot(ndimage.sobel(blurred, 0), ndimage.sobel(blurred, 1)))])


def _compare(source: Array, target: Array, scale: float) -> Agreement:
    """Gray values and edges of both; ``scale`` converts their pixels to those of the files."""
    down, right = _offset(source[1], target[1])
    as_is, flipped = _agree(source, target), _agree(source[..., ::-1], target)
    shifted = _agree(_overlap(source, -down, -right), _overlap(target, down, right))
    elsewhere = max(flipped[1], shifted[1] if down or right else 0.0)
    return Agreement(as_is[0], flipped[0], shifted[0], (right * scale, down * scale), as_is[1] - elsewhere)


def _agree(source: Array, target: Array) -> tuple[float, float]:
    """The correlation of the edges, and the share of the target's edges where both have the same gray value."""
    same = np.abs(source[0] - target[0])[target[1] > target[1].mean()] <= 4 / 255  # as compression may change it
    return float((standardize(source[1]) * standardize(target[1])).sum()), float(same.sum() / max(same.size, 1))


def _overlap(image: Array, down: int, right: int) -> Array:
    """The part of an image (…, H, W) that is covered by another one which lies ``down`` and ``right`` of it."""
    height, width = image.shape[-2:]
    return image[..., max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)]


def _offset(source: Array, target: Array) -> tuple[int, int]:
    """Rows and columns by which the target is shifted, by phase correlation (Kuglin and Hines 1975)."""
    height, width = source.shape
    window = np.outer(np.hanning(height), np.hanning(width))
    spectra = [fft.rfft2((edges - edges.mean()) * window) for edges in (source, target)]
    product = spectra[1] * spectra[0].conj()
    # Whitened by the root only: the edges of a photo and of a drawing differ most in the highest frequencies.
    peaks = fft.fftshift(fft.irfft2(product / np.sqrt(np.abs(product) + 1e-12), source.shape))
    down, right = height // 4, width // 4  # a larger shift leaves too little to compare
    near = peaks[height // 2 - down :, width // 2 - right :][: 2 * down + 1, : 2 * right + 1]
    row, column = np.unravel_index(near.argmax(), near.shape)
    return int(row) - down, int(column) - right
