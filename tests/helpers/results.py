"""What two runs end with, compared bit for bit."""

from pathlib import Path
from typing import Any

import torch


def leaves(value: Any, place: str = "") -> dict[str, Any]:
    """The single values in nested ones, by their places."""
    if not isinstance(value, dict | list | tuple) or not value:
        return {place: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return {at: leaf for key, child in items for at, leaf in leaves(child, f"{place}.{key}").items()}


def same(one: Any, other: Any) -> bool:
    """Whether two single values are equal bit for bit."""
    return type(one) is type(other) and (torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other)


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
        ours, theirs = (leaves(state, name) for state in states)
        found += [at for at in ours | theirs if not same(ours.get(at, "absent"), theirs.get(at, "absent"))]
    return found
