"""Images that are decoded once and stay where they are needed."""

import hashlib
import json
import logging
import shutil
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch.utils.data import Dataset

from image_translation.cli.errors import UserError
from image_translation.data.dataset import PairedImageDataset
from image_translation.data.parallel import in_threads

log = logging.getLogger(__name__)
CACHES = ("auto", "device", "ram", "disk", "none")
SHARE, DISK_SHARE = 4, 10  # auto takes up to a quarter of the free memory, or a tenth of the free disk
VERSION = 2  # of the files on disk; raise it when the same images come out of them otherwise


class Cached(Dataset[dict[str, Any]], ABC):
    """The pairs of a dataset as uint8, which hands out whole batches, in the form of ``default_collate``."""

    def __init__(self, pairs: PairedImageDataset) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitems__(self, indices: list[int]) -> dict[str, Any]:
        return self.images(indices) | {"name": [self.pairs.pairs[index].name for index in indices]}

    @abstractmethod
    def images(self, indices: list[int]) -> dict[str, Any]:
        """The halves (N, 3, S, S)."""


class MemoryCache(Cached):
    """Images in the memory of a device, where batches are put together without a transfer.

    A pair is read when it is first asked for, so an epoch that is cut short reads no more than it uses.

    Args:
        pairs: what reads them.
        device: where they stay; a CPU's is the main memory.
    """

    def __init__(self, pairs: PairedImageDataset, device: torch.device) -> None:
        super().__init__(pairs)
        self.device, self.held = device, set[int]()
        shape = (len(pairs), 3, pairs.image_size, pairs.image_size)
        layout = torch.channels_last  # in which images are enlarged fastest
        self.halves = {
            half: torch.empty(shape, dtype=torch.uint8, device=device, memory_format=layout) for half in pairs.halves
        }

    def images(self, indices: list[int]) -> dict[str, Any]:
        missing = [index for index in dict.fromkeys(indices) if index not in self.held]
        for index, pair in zip(missing, in_threads(self.pairs.__getitem__, missing), strict=True):
            for half, images in self.halves.items():
                images[index] = pair[half].to(self.device)
            self.held.add(index)
        chosen = torch.tensor(indices)
        if self.device.type == "cuda":  # from pinned memory, because another copy would wait for the device
            chosen = chosen.pin_memory().to(self.device, non_blocking=True)
        return {half: images[chosen] for half, images in self.halves.items()}


class DiskCache(Cached):
    """Images in one memory-mapped file, which stays for further runs on the same data at the same size.

    Processes that want the same file wait for the first one to write it, whole or not at all. It can be larger than
    the memory.

    Args:
        pairs: what reads them.
        fingerprint: of the data; with the split and the geometry it names the file.
        split: the split's name.
        folder: where such files are.
    """

    def __init__(self, pairs: PairedImageDataset, fingerprint: str, split: str, folder: Path) -> None:
        super().__init__(pairs)
        self.path = folder / f"{split}-{_key(pairs, fingerprint)}.npy"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path.with_suffix(".lock")):
                if not self._is_whole():
                    self._write(split)
            self.mapped = np.load(self.path, mmap_mode="r")  # (halves, N, S, S, 3)
        except OSError as error:
            raise UserError(f"data.cache=disk: {self.path}: {error.strerror or error}. Use data.cache=none.") from error

    def __getstate__(self) -> dict[str, Any]:  # for workers that are not forked: else the whole file would be sent
        return self.__dict__ | {"mapped": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state
        self.mapped = np.load(self.path, mmap_mode="r")

    def images(self, indices: list[int]) -> dict[str, Any]:
        return {
            half: torch.from_numpy(mapped[indices]).permute(0, 3, 1, 2)
            for half, mapped in zip(self.pairs.halves, self.mapped, strict=True)
        }

    @property
    def _shape(self) -> tuple[int, ...]:
        return (len(self.pairs.halves), len(self.pairs), self.pairs.image_size, self.pairs.image_size, 3)

    def _is_whole(self) -> bool:
        try:
            mapped = np.lib.format.open_memmap(self.path, mode="r")
            return mapped.shape == self._shape and mapped.dtype == np.uint8
        except (FileNotFoundError, ValueError, EOFError):  # there is none, or somebody has damaged it
            return False

    def _write(self, split: str) -> None:
        needed, free = bytes_of(self.pairs), shutil.disk_usage(self.path.parent).free
        if needed > free:
            raise UserError(
                f"data.cache=disk: the images of {split} take {needed / 2**20:,.0f} MiB, and {self.path.parent} has "
                f"{free / 2**20:,.0f} MiB free. Use data.cache=none, or another folder: data.cache_folder=…"
            )
        log.info("Writing the decoded images of %s, %.0f MiB, to %s", split, needed / 2**20, self.path)
        with tempfile.TemporaryDirectory(dir=self.path.parent) as scratch:
            whole = Path(scratch) / self.path.name
            mapped = np.lib.format.open_memmap(whole, "w+", np.uint8, self._shape)
            for index, pair in enumerate(
                in_threads(self.pairs.__getitem__, range(len(self.pairs)), f"Decoding {split}")
            ):
                for half, name in enumerate(self.pairs.halves):
                    mapped[half, index] = pair[name].permute(1, 2, 0).numpy()
            mapped.flush()
            whole.rename(self.path)


def bytes_of(pairs: PairedImageDataset) -> int:
    """What a dataset's images take as uint8."""
    return len(pairs) * len(pairs.halves) * 3 * pairs.image_size**2


def _key(pairs: PairedImageDataset, fingerprint: str) -> str:
    """What the decoded images depend on, in short."""
    layout = pairs.layout
    facts = [VERSION, fingerprint, layout.kind, layout.direction, pairs.image_size, pairs.resize, pairs.background]
    names = [pair.name for pair in pairs.pairs]
    return hashlib.sha256(json.dumps([*facts, names]).encode()).hexdigest()[:16]
