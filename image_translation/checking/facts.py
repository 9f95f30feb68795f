"""What there is to know of each pair, from its own files alone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import fft, ndimage

from image_translation.data.integrity import decode, pixel_digest
from image_translation.data.parallel import in_threads
from image_translation.data.sources.base import Pair, PairSource

Array = NDArray[np.float32]
SIDE = 256  # images are looked at in this size, at most
THUMB = 24
FEW = 8  # pairs; from fewer nothing is concluded about what is usual
FEW_COLORS = 64  # that a map of classes may have
LEVELS = 4  # 8-bit steps by which an equal place may differ after compression
GREY = 6  # 8-bit steps between the channels that JPEG leaves in a gray image


@dataclass(eq=False)
class Half:
    """One image of a pair."""

    size: tuple[int, int]  # width, height
    digest: str | None  # of its pixels; None if they are all the same
    hashes: tuple[int, int]  # perceptual (64 bits): of the image, and of its hflip image
    thumb: NDArray[np.uint8]  # (THUMB, THUMB, 3)
    contours: Array  # (SIDE / 8, SIDE / 8), of mean 0 and length 1
    mean: tuple[float, ...]  # of each channel
    deviation: tuple[float, ...]
    is_grey: bool
    is_drawn: bool  # of few colors: a mask, a label map


@dataclass(eq=False)
class Facts:
    """One pair."""

    split: str
    pair: Pair
    line: str  # its part of the fingerprint
    kinds: tuple[str, ...]  # of its files: format and mode
    problems: list[str]
    halves: dict[str, Half] = field(default_factory=dict)
    agreement: float = 0.0  # of the halves' contours, 1 for the same ones
    flipped: float = 0.0  # the same with the input flipped
    shift: tuple[float, float] = (0.0, 0.0)  # right and down, in pixels: where the target lies, seen from the input
    shifted: float = 0.0  # the agreement after that shift
    equal: float = 0.0  # on what part of the target's contours the input has its gray: more than shifted or flipped

    @property
    def name(self) -> str:
        return f"{self.split}/{self.pair.name}"


def gather(splits: Mapping[str, Sequence[Pair]], source: PairSource, background: str) -> Iterator[Facts]:
    """Every pair's facts, with a progress bar."""
    pairs = [(split, pair) for split, members in splits.items() for pair in members]
    yield from in_threads(lambda item: examine(*item, source, background), pairs, "Looking at every pair")


def examine(split: str, pair: Pair, source: PairSource, background: str) -> Facts:
    """Decode one pair in full, and look at it."""
    decoded = decode(split, pair, source, background)
    facts = Facts(split, pair, decoded.line, tuple(decoded.kinds), decoded.problems)
    small = {}
    for half, image in decoded.halves.items():
        small[half] = _reduced(image)
        facts.halves[half] = _look_at(image, small[half])
    if len(facts.halves) == 2:
        _compare(facts, *(_grey(image) for image in small.values()))
    return facts


def agreement_of(one: Facts, target: Facts, source: PairSource, background: str) -> float:
    """How well one pair's input fits another pair's target; both are decoded again."""
    halves = [decode(item.split, item.pair, source, background).halves[half]
              for item, half in ((one, "input"), (target, "target"))]  # fmt: skip
    a, b = (contours(_grey(_reduced(image))) for image in halves)
    return correlation(a, b) if a.shape == b.shape else 0.0


def contours(gray: Array) -> Array:
    """How strong the edges are at each place, weak ones raised. (H, W) in [0, 1] → the same size."""
    blurred = ndimage.gaussian_filter(gray, 1.5)
    strength: Array = np.sqrt(np.hypot(ndimage.sobel(blurred, 0), ndimage.sobel(blurred, 1)))
    return strength


def correlation(a: Array, b: Array) -> float:
    """Of two maps of one size, in [-1, 1]; 0 if one is flat."""
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float((a * b).sum()) / norm if norm > 1e-6 else 0.0


def _look_at(image: Image.Image, small: Image.Image) -> Half:
    pixels = np.asarray(small)
    values = pixels.reshape(-1, 3)
    spread = values.max(axis=1).astype(int) - values.min(axis=1)
    drawn = contours(_grey(small.resize((SIDE, SIDE), Image.Resampling.BILINEAR)))
    coarse = drawn.reshape(SIDE // 8, 8, SIDE // 8, 8).mean(axis=(1, 3))
    coarse -= coarse.mean()
    return Half(
        size=image.size,
        digest=pixel_digest(image),
        hashes=(_hash(small), _hash(small.transpose(Image.Transpose.FLIP_LEFT_RIGHT))),
        thumb=np.asarray(small.resize((THUMB, THUMB), Image.Resampling.BOX)),
        contours=coarse / max(float(np.linalg.norm(coarse)), 1e-6),
        mean=tuple(values.mean(axis=0).tolist()),
        deviation=tuple(values.std(axis=0).tolist()),
        is_grey=bool(np.percentile(spread, 99) <= GREY),
        is_drawn=image.getcolors(FEW_COLORS) is not None,
    )


def _compare(facts: Facts, gray_source: Array, gray_target: Array) -> None:
    if gray_source.shape != gray_target.shape:
        return
    source, target = contours(gray_source), contours(gray_target)
    facts.agreement = correlation(source, target)
    facts.flipped = correlation(source[:, ::-1], target)
    down, right = _offset(source, target)
    height, width = source.shape
    there = np.s_[max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)]
    here = np.s_[max(0, down) : height - max(0, -down), max(0, right) : width - max(0, -right)]
    a, b = source[there], target[here]
    scale = facts.halves["target"].size[0] / width
    facts.shift, facts.shifted = (right * scale, down * scale), correlation(a, b) if a.size else 0.0
    drawn = target > target.mean()
    elsewhere = [_equal(gray_source[:, ::-1], gray_target, drawn)]
    if down or right:
        elsewhere.append(_equal(gray_source[there], gray_target[here], drawn[here]))
    facts.equal = _equal(gray_source, gray_target, drawn) - max(elsewhere)


def _equal(a: Array, b: Array, where: NDArray[np.bool_]) -> float:
    """The share of some places where two gray images have the same value."""
    same = np.abs(a - b) <= LEVELS / 255
    return float((same & where).sum() / max(where.sum(), 1))


def _offset(source: Array, target: Array) -> tuple[int, int]:
    """By phase correlation (Kuglin and Hines 1975): rows and columns by which ``target`` lies off ``source``."""
    window = np.outer(np.hanning(source.shape[0]), np.hanning(source.shape[1]))
    spectra = [fft.rfft2((drawn - drawn.mean()) * window, workers=1) for drawn in (source, target)]
    product = spectra[1] * spectra[0].conj()
    # Not whitened in full: the contours of a photo and of a drawing differ most in the highest frequencies.
    peaks = fft.irfft2(product / np.sqrt(np.abs(product) + 1e-12), source.shape, workers=1)
    most = [side // 4 for side in source.shape]  # larger ones leave too little to compare
    down, right = (
        np.r_[0 : most[0] + 1, peaks.shape[0] - most[0] : peaks.shape[0]],
        np.r_[0 : most[1] + 1, peaks.shape[1] - most[1] : peaks.shape[1]],
    )
    row, column = np.unravel_index(peaks[np.ix_(down, right)].argmax(), (len(down), len(right)))
    y, x = int(down[row]), int(right[column])
    return (y if y <= most[0] else y - peaks.shape[0]), (x if x <= most[1] else x - peaks.shape[1])


def _reduced(image: Image.Image) -> Image.Image:
    scale = SIDE / max(image.size)
    if scale >= 1:
        return image
    size = [max(1, round(side * scale)) for side in image.size]
    return image.resize((size[0], size[1]), Image.Resampling.BOX, reducing_gap=2.0)


def _grey(image: Image.Image) -> Array:
    return np.asarray(image.convert("L"), np.float32) / np.float32(255)


def _hash(image: Image.Image) -> int:
    bits: Any = imagehash.phash(image).hash.ravel()
    return int(np.packbits(bits).view(">u8")[0])
