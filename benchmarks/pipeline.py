"""The input pipeline alone: pairs a second, from files to a batch in [-1, 1] with jitter.

python -m benchmarks.pipeline <pairs> <file.json>
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from benchmarks.textbook import Pairs
from image_translation.data import PairedImageDataModule
from image_translation.data.cache import MemoryCache
from image_translation.device import prepare_device

BATCH = 32


def main(root: str, file: str) -> None:
    prepare_device("auto")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ours = PairedImageDataModule("comic", root, input_folder="face", target_folder="comics", batch_size=BATCH)
    ours.setup()
    cache = MemoryCache(ours.datasets["train"], device)
    cached: Any = DataLoader(cache, BATCH, shuffle=True, collate_fn=lambda batch: batch)
    loaders: dict[str, Any] = {
        "textbook": DataLoader(
            Pairs(Path(root) / "train", "face", "comics"), BATCH, shuffle=True, num_workers=ours.num_workers
        ),
        "read": ours.dataloader("train", train=True),
        "cached": cached,
    }
    for batch in cached:  # read everything once
        del batch
    rates = {}
    for name, loader in loaders.items():
        start, count = time.perf_counter(), 0
        for batch in loader:
            if name == "textbook":
                x, _ = batch[0].to(device), batch[1].to(device)
            else:
                moved = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
                x = ours.finish_batch(moved, augment=True)["input"]
            count += len(x)
        if device.type == "cuda":
            torch.cuda.synchronize()
        rates[name] = count / (time.perf_counter() - start)
    Path(file).write_text(json.dumps(rates))


if __name__ == "__main__":
    main(*sys.argv[1:])
