"""Pairs to measure on: 256×256 JPEG files in the layout of task=comic, made from the built-in sample."""

from pathlib import Path

import numpy as np
from PIL import Image

from image_translation.data.sample import sample_folder

SIDES = ("face", "comics")


def make_pairs(root: Path, train: int, rest: int = 16) -> Path:
    """``train`` pairs, and ``rest`` for val and test each, all different."""
    sample = sample_folder("comic") / "train"
    images = {side: [Image.open(file).convert("RGB").resize((288, 288)) for file in sorted((sample / side).iterdir())]
              for side in SIDES}  # fmt: skip
    generator = np.random.default_rng(0)
    for split, count in {"train": train, "val": rest, "test": rest}.items():
        for index in range(count):
            left, top = generator.integers(0, 32, 2)
            for side, sources in images.items():
                folder = root / split / side
                folder.mkdir(parents=True, exist_ok=True)
                image = sources[index % len(sources)].crop((left, top, left + 256, top + 256))
                image.save(folder / f"{index:04}.jpg", quality=92)
    return root


def part_of(root: Path, name: str, count: int) -> Path:
    """A folder ``name`` beside ``root`` with the same pairs, but only the first ``count`` to train on."""
    part = root.with_name(name)
    if not part.exists():
        for file in sorted(root.rglob("*.jpg")):
            if file.is_relative_to(root / "train") and int(file.stem) >= count:
                continue
            copy = part / file.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.hardlink_to(file)
    return part
