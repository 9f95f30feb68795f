"""Means over an epoch, whose sums a checkpoint can keep: one in the middle of an epoch leaves nothing out."""

from collections.abc import Mapping
from typing import Any

import torch
from pytorch_lightning.strategies import Strategy
from torch import Tensor

Names = tuple[str, ...]


class MeanMetric:
    """Sums numbers on the device, without waiting for it, weighted by the images they stand for.

    Args:
        rank: which of several devices this is.
    """

    def __init__(self, rank: int = 0) -> None:
        self.rank = rank
        self.sums: dict[Names, Tensor] = {}  # (names + 1,): the last is the weight
        self.earlier: dict[Names, list[list[float]]] = {}  # of each device, from a checkpoint

    def add(self, values: Mapping[str, Tensor], images: int) -> None:
        """Add scalars of one batch."""
        names = tuple(values)
        one = torch.ones((), device=next(iter(values.values())).device)
        summand = torch.stack([*values.values(), one]).to(_exact(one.device)) * images
        self.sums[names] = self._sum(names, one.device) + summand

    def compute(self, strategy: Strategy) -> dict[str, float]:
        """The means over all devices; to be called on each of them."""
        means: dict[str, float] = {}
        for names in {**self.earlier, **self.sums}:
            total = strategy.reduce(self._sum(names, strategy.root_device).clone(), reduce_op="sum")
            assert isinstance(total, Tensor)
            means |= dict(zip(names, (total[:-1] / total[-1]).tolist(), strict=True))
        return means

    def reset(self) -> None:
        self.sums.clear()
        self.earlier.clear()

    def state(self, strategy: Strategy) -> list[dict[str, Any]]:
        """Plain values for a checkpoint; to be called on every device."""
        sums = {names: self._sum(names, strategy.root_device) for names in {**self.earlier, **self.sums}}
        return [
            {"names": list(names), "sums": strategy.all_gather(own).view(-1, len(own)).tolist()}
            for names, own in sums.items()
        ]

    def load(self, state: list[dict[str, Any]]) -> None:
        """Go on from what ``state`` gave."""
        self.sums.clear()
        self.earlier = {tuple(part["names"]): part["sums"] for part in state}

    def _sum(self, names: Names, device: torch.device) -> Tensor:
        """What this device has summed so far."""
        if (earlier := self.earlier.pop(names, None)) is not None:
            own = earlier[self.rank] if self.rank < len(earlier) else [0.0] * len(earlier[0])
            self.sums[names] = torch.tensor(own, dtype=_exact(device), device=device)
        if names not in self.sums:
            self.sums[names] = torch.zeros(len(names) + 1, dtype=_exact(device), device=device)
        return self.sums[names]


def _exact(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64
