"""Pairs as uint8 tensors, from files or decoded already."""

import hashlib
import json
import logging
import math
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor
from torch.utils.data import Dataset

from image_translation.cli.errors import UserError
from image_translation.data.images import in_threads
from image_translation.data.kinds import DTYPES, RGB, Array, Kind, Stored, to_tensor
from image_translation.data.sources.base import Pair, PairSource
from image_translation.data.values import read, resized
from image_translation.runs.files import atomic_write
from image_translation.training.device import free_memory

log = logging.getLogger(__name__)
VERSION = 5  # of the files on disk; raise it when the same images are stored otherwise


class PairedImageDataset(Dataset[dict[str, Any]]):
    """Yields ``{"input": (C, H, W) in its stored type, "target": likewise, "name": str}``, as far as files hold them.

    Args:
        pairs, source: which, and how they are stored.
        size: H and W.
        resize: see ``images.resize_image``; with ``fit`` and ``whole``, H and W are each pair's own.
        background: the color below transparent images.
        kinds: of the input and of the target.
        pixels: of all the images in full size.
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
    ) -> None:
        self.pairs, self.source, self.size, self.resize, self.background = pairs, source, size, resize, background
        both = dict(zip(("input", "target"), kinds, strict=True))
        self.kinds = {half: both[half] for half in source.halves}
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
        halves = self.source.open(pair, self._read)
        images = {half: resized(image, self.kinds[half], *self.size, self.resize) for half, image in halves.items()}
        return {"name": pair.name} | {half: to_tensor(image) for half, image in images.items()}

    def arrays(self, index: int) -> dict[str, Array]:
        """The halves of a pair in full size (H, W, C). Of ``.npy`` files only what is used of them will be read."""
        halves = self.source.open(self.pairs[index], partial(self._read, lazily=True))
        arrays = {half: np.asarray(image) for half, image in halves.items()}
        return {half: array[..., None] if array.ndim == 2 else array for half, array in arrays.items()}

    def _read(self, path: Path, half: str, lazily: bool = False) -> Stored:
        if lazily and path.suffix == ".npy" and (mapped := np.load(path, mmap_mode="r")).dtype.name in DTYPES:
            stored: Array = mapped
            return stored
        return read(path.read_bytes(), path, self.kinds[half], self.background)


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
        part = torch.rand(2, generator=torch.Generator().manual_seed(number)).tolist()
        height, width = self.size
        window: dict[str, Any] = {"name": self.dataset.pairs[index].name}
        for half, image in self.dataset.arrays(index).items():
            top, left = (int(share * max(there - side + 1, 1))
                         for share, there, side in zip(part, image.shape, self.size, strict=False))  # fmt: skip
            cropped = image[top : top + height, left : left + width]
            missing = (0, height - cropped.shape[0]), (0, width - cropped.shape[1]), (0, 0)
            window[half] = to_tensor(np.pad(cropped, missing, "symmetric"))
        return window


class Cached(Dataset[dict[str, Any]], ABC):
    """Pairs of one size that stay decoded, each half as (H, W, C), in batches as ``default_collate`` makes."""

    def __init__(self, dataset: PairedImageDataset) -> None:
        self.dataset, self.halves = dataset, tuple(dataset.kinds)
        self.shapes = {half: (*dataset.size, kind.stored) for half, kind in dataset.kinds.items()}

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, indices: list[int]) -> dict[str, Any]:
        # channels_last, in which they are enlarged fastest
        images = [half.permute(0, 3, 1, 2) for half in self.load(indices)]
        names = [self.dataset.pairs[index].name for index in indices]
        return dict(zip(self.halves, images, strict=True)) | {"name": names}

    @abstractmethod
    def load(self, indices: list[int]) -> list[Tensor]:
        """Each half of some pairs, (n, H, W, C)."""

    def decode(self, indices: Sequence[int], title: str = "") -> Iterator[list[Tensor]]:
        """The halves (H, W, C) of some pairs, from their files."""
        for pair in in_threads(self.dataset.__getitem__, indices, title):
            yield [pair[half].permute(1, 2, 0) for half in self.halves]


class MemoryCache(Cached):
    """Images in the memory of a device. A pair is read when it is first asked for."""

    def __init__(self, dataset: PairedImageDataset, device: torch.device) -> None:
        super().__init__(dataset)
        self.stored = [
            torch.empty((len(dataset), *self.shapes[half]), dtype=kind.torch_dtype, device=device)
            for half, kind in dataset.kinds.items()
        ]
        self.device, self.held = device, set[int]()

    def load(self, indices: list[int]) -> list[Tensor]:
        missing = sorted({*indices} - self.held)
        for index, pair in zip(missing, self.decode(missing), strict=True):
            for stored, image in zip(self.stored, pair, strict=True):
                stored[index] = image
            self.held.add(index)
        chosen = torch.tensor(indices)
        if self.device.type == "cuda":  # from pinned memory, because any other copy would wait for the device
            chosen = chosen.pin_memory().to(self.device, non_blocking=True)
        return [stored[chosen] for stored in self.stored]


class DiskCache(Cached):
    """Images in one file, which later runs on the same data at the same size use again.

    Processes that want the same file wait for the first one to write it. It can be larger than the memory.
    """

    def __init__(self, dataset: PairedImageDataset, fingerprint: str, split: str, folder: Path) -> None:
        super().__init__(dataset)
        content = [VERSION, fingerprint, type(dataset.source).__name__, dataset.source.direction, dataset.size,
                   dataset.resize, dataset.background, *map(repr, dataset.kinds.values()),
                   *(pair.name for pair in dataset.pairs)]  # fmt: skip
        self.path = folder / f"{split}-{hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]}.bin"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path.with_suffix(".lock")):
                if not self.path.exists() or self.path.stat().st_size != dataset.nbytes:
                    mebibytes = dataset.nbytes / 2**20
                    log.info("Writing the decoded images of %s, %.0f MiB, to %s", split, mebibytes, self.path)
                    with atomic_write(self.path) as file:
                        for pair in self.decode(range(len(dataset)), f"Decoding {split}"):
                            for image in pair:
                                file.write(image.numpy().tobytes())
        except OSError as error:
            advice = "Use data.cache=none, or another folder: data.cache_folder=…"
            raise UserError(f"data.cache=disk: {error}. {advice}") from error

    def load(self, indices: list[int]) -> list[Tensor]:
        pair = np.dtype([(half, kind.dtype, self.shapes[half]) for half, kind in self.dataset.kinds.items()])
        stored = np.memmap(self.path, pair, "r")  # anew, so that worker processes need no copy
        return [torch.from_numpy(stored[half][indices]) for half in self.halves]


def choose_cache(needed: int, device: torch.device, processes: int, folder: Path) -> str:
    """The first of ``device``, ``ram`` (shared by ``processes``) and ``disk`` with that much room; else ``none``.

    Room is a quarter of the free memory, and a tenth of the free disk.
    """
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    room = {
        "device": 0 if device.type == "cpu" else (free_memory(device) or 0) / 4,
        "ram": (free_memory(torch.device("cpu")) or 0) / 4 / processes,
        "disk": shutil.disk_usage(existing).free / 10,
    }
    place = next((place for place, free in room.items() if needed <= free), "none")
    log.info("The images of train and val take %.0f MiB when decoded: data.cache=%s.", needed / 2**20, place)
    return place
