"""How many pairs a second are read for training, jitter included, without a cache, beside the textbook.

python -m benchmarks.reading [--pairs 96] [--rounds 3]

Everything runs in turn; the medians are printed as a table.
"""

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.textbook import Pairs
from image_translation.data import PairedImageDataModule
from image_translation.data.sample import sample_folder

FORMS = {"JPEG 256×256": ("jpg", 256), "JPEG 1024×1024": ("jpg", 1024), "TIFF 16 bits 1024×1024": ("tif", 1024)}
SIDES = ("face", "comics")
BATCH = 8


class DeepPairs(Pairs):
    """The textbook's with 16-bit gray TIFF files."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        left, top = np.random.randint(0, 31, 2)
        hflip = np.random.rand() < 0.5
        halves = []
        for file in (self.inputs[index], self.targets[index]):
            image = torch.from_numpy(tifffile.imread(file).astype(np.float32))[None, None] / 65535
            image = F.interpolate(image, (286, 286), mode="bicubic", antialias=True)[0]
            image = image[:, top : top + 256, left : left + 256]
            halves.append(((image.flip(-1) if hflip else image) - 0.5) / 0.5)
        return halves[0], halves[1]


def make_large_pairs(root: Path, form: str, side: int, count: int) -> Path:
    """Pairs of the built-in sample's tiles, put together at their own scale; two for val and test each."""
    folder = sample_folder("comic") / "train"
    tiles = {name: [Image.open(file).convert("RGB") for file in sorted((folder / name).iterdir())] for name in SIDES}
    places = [(left, top) for left in range(0, side, 256) for top in range(0, side, 256)]
    for split, name in product(("train", "val", "test"), SIDES):
        (root / split / name).mkdir(parents=True)
        for number in range(count if split == "train" else 2):
            image, file = Image.new("RGB", (side, side)), root / split / name / f"{number:04}.{form}"
            for index, place in enumerate(places):
                image.paste(tiles[name][(number + index + len(split)) % len(tiles[name])], place)
            if form == "jpg":
                image.save(file, quality=92)
            else:
                noise = np.random.default_rng(number).integers(0, 256, (side, side), dtype=np.uint16)
                tifffile.imwrite(file, np.asarray(image.convert("L")).astype(np.uint16) * 256 + noise)
    return root


def ours(root: Path, form: str, workers: int) -> Iterator[Any]:
    kind: dict[str, Any] = {"input": "grey16", "target": "grey16"} if form == "tif" else {}
    data = PairedImageDataModule("comic", str(root), input_folder="face", target_folder="comics", **kind)
    data.setup()
    generator = torch.Generator().manual_seed(0)
    for batch in endless(DataLoader(data.training, BATCH, shuffle=True, num_workers=workers)):
        yield data.finish_batch(batch, generator)


def textbook(root: Path, form: str, workers: int) -> Iterator[Any]:
    pairs = (DeepPairs if form == "tif" else Pairs)(root / "train", *SIDES)
    return endless(DataLoader(pairs, BATCH, shuffle=True, num_workers=workers))


def endless(loader: DataLoader[Any]) -> Iterator[Any]:
    while True:
        yield from loader


def rate(batches: Iterator[Any], count: int) -> float:
    """Pairs a second, after the first batches, for which workers have to start."""
    list(islice(batches, 2))
    start, batches_of = time.perf_counter(), count // BATCH
    list(islice(batches, batches_of))
    return batches_of * BATCH / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    rates = defaultdict(list)
    with tempfile.TemporaryDirectory() as place:
        roots = {name: make_large_pairs(Path(place) / name, *form, arguments.pairs) for name, form in FORMS.items()}
        for _, (name, (form, _)), workers in product(range(arguments.rounds), FORMS.items(), arguments.workers):
            for work in (textbook, ours):
                rates[name, workers, work].append(rate(work(roots[name], form, workers), arguments.pairs))
    print("| | workers | textbook | ours | |\n|---|---:|---:|---:|---:|")
    for name, workers in product(FORMS, arguments.workers):
        plain, own = (statistics.median(rates[name, workers, work]) for work in (textbook, ours))
        print(f"| {name} | {workers} | {plain:.0f} | {own:.0f} | {own / plain:.1f}× |")


if __name__ == "__main__":
    main()
