"""What two runs end with, compared bit for bit."""

from pathlib import Path
from typing import Any

import torch


def differences(one: Any, other: Any, place: str = "") -> list[str]:
    """Where two nested values differ by a bit."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return [found for key in one for found in differences(one[key], other[key], f"{place}.{key}")]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        return [
            found
            for i, pair in enumerate(zip(one, other, strict=True))
            for found in differences(*pair, f"{place}[{i}]")
        ]
    same = (
        torch.equal(one, other) if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor) else one == other
    )
    return [] if same else [place]


def unlike(one: Path, other: Path) -> list[str]:
    """What differs between the results of two trainings."""
    found = [] if (one / "metrics.csv").read_bytes() == (other / "metrics.csv").read_bytes() else ["metrics.csv"]
    for name in ("last.ckpt", "best.ckpt"):
        states = [torch.load(folder / "checkpoints" / name, weights_only=True) for folder in (one, other)]
        for state in states:
            state.pop("callbacks", None)  # they hold times and folders
            if name == "best.ckpt":
                del state["loops"]  # nothing is resumed from there
            else:  # a count on which nothing depends
                del state["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
        found += differences(*states, name)
    return found
