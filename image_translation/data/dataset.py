"""Pairs as tensors of their stored type, from files."""

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from image_translation.data.kinds import DTYPES, RGB, Array, Kind, Stored, to_tensor
from image_translation.data.sources.base import File, Pair, PairSource
from image_translation.data.values import read, resized

QUICK = 1.5  # times the size, to which a decoder may scale: 45 dB from an image that was decoded in full


class PairedImageDataset(Dataset[dict[str, Any]]):
    """Yields ``{"input": (C, H, W) in its stored type, "target": likewise, "name": str}``, as far as files hold them.

    Args:
        pairs, source: which, and how they are stored.
        size: H and W.
        resize: see ``images.resize_image``; with ``fit`` and ``whole``, H and W are each pair's own.
        background: the color below transparent images.
        kinds: of the input and of the target.
        pixels: of all the images in full size.
        quick: whether JPEGs much larger than ``size`` may be scaled by their decoder, 2 to 3 times as fast.
    """

    def __init__(
        self,
        pairs: list[Pair],
        source: PairSource,
        size: tuple[int, int],
        resize: str,
        background: str,
        kinds: tuple[Kind, Kind] = (RGB, RGB),
        pixels: int = 0,
        quick: bool = False,
    ) -> None:
        self.pairs, self.source, self.size, self.resize, self.background = pairs, source, size, resize, background
        both = dict(zip(("input", "target"), kinds, strict=True))
        self.kinds = {half: both[half] for half in source.halves}
        self.least = round(QUICK * max(size)) if quick else None
        self.sizes_differ = resize in ("fit", "whole")
        self.pixels = pixels if resize == "whole" else len(pairs) * math.prod(size)

    @property
    def nbytes(self) -> int:
        """The size of all its images as they are stored; where they only fit in a size, at most."""
        return self.pixels * sum(kind.stored * kind.torch_dtype.itemsize for kind in self.kinds.values())

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        pair = self.pairs[index]
        return {"name": pair.name} | self.fit(self.source.open(pair, self._read))

    def fit(self, halves: Mapping[str, Stored]) -> dict[str, Tensor]:
        """The halves of an item, from any images in full size."""
        images = {half: resized(image, self.kinds[half], *self.size, self.resize) for half, image in halves.items()}
        return {half: to_tensor(image) for half, image in images.items()}

    def arrays(self, index: int) -> dict[str, Array]:
        """The halves of a pair in full size (H, W, C). Of ``.npy`` files only what is used of them will be read."""
        return as_arrays(self.source.open(self.pairs[index], partial(self._read, lazily=True)))

    def _read(self, path: File, half: str, lazily: bool = False) -> Stored:
        if lazily and isinstance(path, Path) and path.suffix == ".npy":
            mapped: Array = np.load(path, mmap_mode="r")
            if mapped.dtype.name in DTYPES:
                return mapped
        return read(path.read_bytes(), path, self.kinds[half], self.background, self.least)


def as_arrays(halves: Mapping[str, Stored]) -> dict[str, Array]:
    """Images as (H, W, C)."""
    arrays = {half: np.asarray(image) for half, image in halves.items()}
    return {half: array[..., None] if array.ndim == 2 else array for half, array in arrays.items()}


class Held(Dataset[dict[str, Any]]):
    """The pairs of a dataset whose sizes differ, which stay in memory once they have been read."""

    sizes_differ = True

    def __init__(self, dataset: PairedImageDataset) -> None:
        self.dataset, self.pairs, self.held = dataset, dataset.pairs, dict[int, dict[str, Any]]()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index not in self.held:
            self.held[index] = self.dataset[index]
        return self.held[index]

    def arrays(self, index: int) -> dict[str, Array]:
        """As those of the dataset."""
        return {half: image.permute(1, 2, 0).numpy() for half, image in self[index].items() if half != "name"}


class Windows(Dataset[dict[str, Any]]):
    """Parts of pairs, of a ``size`` (height and width), at a random place that a number decides; equal in both halves.

    An item is asked for by an index and that number. Smaller images are filled up by reflection.
    """

    def __init__(self, dataset: PairedImageDataset | Held, size: tuple[int, int]) -> None:
        self.dataset, self.size = dataset, size

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, place: int | tuple[int, int]) -> dict[str, Any]:
        index, number = place if isinstance(place, tuple) else (place, place)
        return {"name": self.dataset.pairs[index].name} | window(self.dataset.arrays(index), self.size, number)


def window(halves: Mapping[str, Array], size: tuple[int, int], number: int) -> dict[str, Tensor]:
    """A part of the halves (H, W, C) of a pair, see ``Windows``."""
    part = torch.rand(2, generator=torch.Generator().manual_seed(number)).tolist()
    height, width = size
    parts = {}
    for half, image in halves.items():
        top, left = (int(share * max(there - side + 1, 1))
                     for share, there, side in zip(part, image.shape, size, strict=False))  # fmt: skip
        cropped = image[top : top + height, left : left + width]
        missing = (0, height - cropped.shape[0]), (0, width - cropped.shape[1]), (0, 0)
        parts[half] = to_tensor(np.pad(cropped, missing, "symmetric"))
    return parts
