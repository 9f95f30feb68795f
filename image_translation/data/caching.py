"""Pairs that stay decoded: on a device, in memory or in a file."""

import hashlib
import json
import logging
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor
from torch.utils.data import Dataset

from image_translation.cli.errors import UserError
from image_translation.data.dataset import Held, PairedImageDataset
from image_translation.data.images import in_threads
from image_translation.runs.files import atomic_write
from image_translation.training.device import free_memory

log = logging.getLogger(__name__)
VERSION = 6  # of the files on disk; raise it when the same images are stored otherwise


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


def kept(
    dataset: PairedImageDataset, cache: str, device: torch.device, folder: Path, fingerprint: str, split: str
) -> Dataset[dict[str, Any]]:
    """A split's dataset as ``data.cache`` says, which is no longer ``auto``; see the classes here."""
    if dataset.sizes_differ:
        return Held(dataset) if cache in ("device", "ram") else dataset
    if cache == "none":
        return dataset
    if cache == "disk":
        return DiskCache(dataset, fingerprint, split, folder)
    return MemoryCache(dataset, device if cache == "device" else torch.device("cpu"))


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
