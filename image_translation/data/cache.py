"""Pictures that are read once and stay where they are needed."""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch.utils.data import Dataset

from image_translation.data.dataset import PairedImageDataset

CACHES = ("auto", "device", "none")
SHARE = 4  # auto takes up to a quarter of the free memory


class DeviceCache(Dataset[dict[str, Any]]):
    """The pairs of a dataset as uint8 on a device, where batches are put together without a transfer.

    A pair is read when it is first asked for, so an epoch that is cut short reads no more than it uses.

    Args:
        pairs: what reads them.
        device: where they stay; a CPU's is the main memory.
    """

    def __init__(self, pairs: PairedImageDataset, device: torch.device) -> None:
        self.pairs, self.device = pairs, device
        self.held: set[int] = set()
        shape = (len(pairs), 3, pairs.image_size, pairs.image_size)
        self.pictures = {half: torch.empty(shape, dtype=torch.uint8, device=device) for half in pairs.halves}

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitems__(self, indices: list[int]) -> dict[str, Any]:
        """A whole batch, in the form of ``default_collate``."""
        missing = [index for index in dict.fromkeys(indices) if index not in self.held]
        if missing:
            with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes without holding the interpreter's lock
                for index, pair in zip(missing, pool.map(self.pairs.__getitem__, missing), strict=True):
                    for half, pictures in self.pictures.items():
                        pictures[index] = pair[half].to(self.device)
                    self.held.add(index)
        chosen = torch.tensor(indices)
        if self.device.type == "cuda":  # from pinned memory, because another copy would wait for the device
            chosen = chosen.pin_memory().to(self.device, non_blocking=True)
        batch: dict[str, Any] = {half: pictures[chosen] for half, pictures in self.pictures.items()}
        return batch | {"name": [self.pairs.pairs[index].name for index in indices]}


def bytes_of(pairs: PairedImageDataset) -> int:
    """What a dataset's pictures take as uint8."""
    return len(pairs) * len(pairs.halves) * 3 * pairs.image_size**2
