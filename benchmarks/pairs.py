"""Pairs to measure on: 256×256 JPEG files in the layout of task=comic, made from the built-in sample."""

from itertools import cycle, islice
from pathlib import Path

import numpy as np
from PIL import Image

from image_translation.data.sample import sample_folder


def make_pairs(root: Path, train: int, rest: int = 16) -> Path:
    """``train`` pairs, and ``rest`` for val and test each, all different."""
    sample = sample_folder("comic")
    sources = sorted((sample / "train" / "face").iterdir())
    generator = np.random.default_rng(0)
    for split, count in {"train": train, "val": rest, "test": rest}.items():
        for index, source in enumerate(islice(cycle(sources), count)):
            left, top = generator.integers(0, 32, 2)
            for side in ("face", "comics"):
                folder = root / split / side
                folder.mkdir(parents=True, exist_ok=True)
                image = Image.open(sample / "train" / side / source.name).convert("RGB").resize((288, 288))
                image.crop((left, top, left + 256, top + 256)).save(folder / f"{index:04}.jpg", quality=92)
    return root


def part_of(root: Path, count: int) -> Path:
    """The same pairs with the first ``count`` to train on; they are made once."""
    part = root.with_name(f"{root.name}_{count}")
    if not part.exists():
        for file in sorted(root.rglob("*.jpg")):
            if file.is_relative_to(root / "train") and int(file.stem) >= count:
                continue
            copy = part / file.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.hardlink_to(file)
    return part
