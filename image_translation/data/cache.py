"""Images that are decoded once and stay where they are needed."""

import hashlib
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch.utils.data import Dataset

from image_translation.cli.errors import UserError
from image_translation.data.dataset import PairedImageDataset
from image_translation.data.parallel import in_threads
from image_translation.runs.files import atomic_write
from image_translation.training.device import free_memory

log = logging.getLogger(__name__)
CACHES = ("auto", "device", "ram", "disk", "none")
MEMORY_SHARE, DISK_SHARE = 4, 10  # auto takes up to a quarter of the free memory, or a tenth of the free disk
VERSION = 3  # of the files on disk; raise it when the same images are stored otherwise


def choose_cache(needed: int, device: torch.device, processes: int, folder: Path) -> str:
    """The first of ``device``, ``ram`` (shared by ``processes``) and ``disk`` with that much room; else ``none``."""
    for place, where in {"device": device, "ram": torch.device("cpu")}.items():
        free = free_memory(where)
        if free is not None and needed * (processes if where.type == "cpu" else 1) <= free / MEMORY_SHARE:
            return place
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    place = "disk" if needed <= shutil.disk_usage(existing).free / DISK_SHARE else "none"
    what = "are kept decoded on the disk" if place == "disk" else "are decoded again in every epoch"
    log.info("The images of train and val, %.0f MiB, %s (data.cache=%s).", needed / 2**20, what, place)
    return place


class Cached(Dataset[dict[str, Any]]):
    """The pairs of a dataset as uint8, which returns whole batches in the form of ``default_collate``."""

    def __init__(self, dataset: PairedImageDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, indices: list[int]) -> dict[str, Any]:
        return self.images(indices) | {"name": [self.dataset.pairs[index].name for index in indices]}

    def images(self, indices: list[int]) -> dict[str, torch.Tensor]:
        """The halves (N, 3, S, S) as uint8."""
        raise NotImplementedError


def as_it_is(batch: Any) -> Any:
    """Instead of ``default_collate``, because a cache returns whole batches."""
    return batch


class MemoryCache(Cached):
    """Images in the memory of a device, where batches are put together without a transfer.

    A pair is read when it is first asked for, so an epoch that is cut short reads no more than it uses.
    """

    def __init__(self, dataset: PairedImageDataset, device: torch.device) -> None:
        super().__init__(dataset)
        self.device, self.held = device, set[int]()
        shape = (len(dataset), 3, dataset.image_size, dataset.image_size)
        self.halves = {  # channels_last, in which images are enlarged fastest
            half: torch.empty(shape, dtype=torch.uint8, device=device, memory_format=torch.channels_last)
            for half in dataset.source.halves
        }

    def images(self, indices: list[int]) -> dict[str, torch.Tensor]:
        missing = [index for index in dict.fromkeys(indices) if index not in self.held]
        for index, pair in zip(missing, in_threads(self.dataset.__getitem__, missing), strict=True):
            for half, images in self.halves.items():
                images[index] = pair[half].to(self.device)
            self.held.add(index)
        chosen = torch.tensor(indices)
        if self.device.type == "cuda":  # from pinned memory, because any other copy would wait for the device
            chosen = chosen.pin_memory().to(self.device, non_blocking=True)
        return {half: images[chosen] for half, images in self.halves.items()}


class DiskCache(Cached):
    """Images in one file (N, halves, S, S, 3) of bytes, which later runs on the same data at the same size use again.

    Processes that want the same file wait for the first one to write it. It can be larger than the memory.
    """

    def __init__(self, dataset: PairedImageDataset, fingerprint: str, split: str, folder: Path) -> None:
        super().__init__(dataset)
        self.path = folder / f"{split}-{_key(dataset, fingerprint)}.bin"
        self.shape = (len(dataset), len(dataset.source.halves), dataset.image_size, dataset.image_size, 3)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path.with_suffix(".lock")):
                if not self.path.exists() or self.path.stat().st_size != dataset.nbytes:
                    self._write(split)
        except OSError as error:
            advice = "Use data.cache=none, or another folder: data.cache_folder=…"
            raise UserError(f"data.cache=disk: {self.path}: {error.strerror or error}. {advice}") from error

    def images(self, indices: list[int]) -> dict[str, torch.Tensor]:
        stored = np.memmap(self.path, np.uint8, "r", shape=self.shape)  # anew, so that worker processes need no copy
        return {
            half: torch.from_numpy(stored[indices, index]).permute(0, 3, 1, 2)
            for index, half in enumerate(self.dataset.source.halves)
        }

    def _write(self, split: str) -> None:
        log.info("Writing the decoded images of %s, %.0f MiB, to %s", split, self.dataset.nbytes / 2**20, self.path)
        pairs = in_threads(self.dataset.__getitem__, range(len(self.dataset)), f"Decoding {split}")
        with atomic_write(self.path) as file:
            for pair in pairs:
                for half in self.dataset.source.halves:
                    file.write(pair[half].permute(1, 2, 0).numpy().tobytes())


def _key(dataset: PairedImageDataset, fingerprint: str) -> str:
    """What the decoded images depend on, in short."""
    source = dataset.source
    facts = [VERSION, fingerprint, type(source).__name__, source.direction, dataset.image_size, dataset.resize]
    names = [pair.name for pair in dataset.pairs]
    return hashlib.sha256(json.dumps([*facts, dataset.background, *names]).encode()).hexdigest()[:16]
