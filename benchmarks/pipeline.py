"""The input pipeline alone: pairs a second, from files to a batch in [-1, 1] with jitter, with two worker processes.

python -m benchmarks.pipeline <pairs> <file.json>
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.textbook import Pairs
from image_translation.data import PairedImageDataModule
from image_translation.data.cache import DiskCache, MemoryCache
from image_translation.training.device import prepare_device

BATCH, WORKERS, EPOCHS = 32, 2, 4


def loader(dataset: Dataset[Any], workers: int, **options: Any) -> Any:
    return DataLoader(dataset, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0, **options)


def as_it_is(batch: Any) -> Any:
    return batch


def main(root: str, file: str) -> None:
    prepare_device("auto")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ours = PairedImageDataModule("comic", root, input_folder="face", target_folder="comics", batch_size=BATCH)
    ours.setup()
    pairs = ours.datasets["train"]
    rates = {}
    with tempfile.TemporaryDirectory() as folder:
        loaders = {
            "textbook": loader(Pairs(Path(root) / "train", "face", "comics"), WORKERS),
            "none": loader(pairs, WORKERS),
            "disk": loader(DiskCache(pairs, "", "train", Path(folder)), WORKERS, collate_fn=as_it_is),
            "device": loader(MemoryCache(pairs, device), 0, collate_fn=as_it_is),
        }
        for name, batches in loaders.items():
            for epoch in range(EPOCHS + 1):
                if epoch == 1:  # before, files are read and workers start
                    start, count = time.perf_counter(), 0
                for batch in batches:
                    if name == "textbook":
                        x, _ = batch[0].to(device), batch[1].to(device)
                    else:
                        moved = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
                        x = ours.finish_batch(moved, augment=True)["input"]
                    if epoch:
                        count += len(x)
            if device.type == "cuda":
                torch.cuda.synchronize()
            rates[name] = count / (time.perf_counter() - start)
    Path(file).write_text(json.dumps(rates))


if __name__ == "__main__":
    main(*sys.argv[1:])
