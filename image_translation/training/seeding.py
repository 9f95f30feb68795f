"""Random numbers that depend on the seed and the place in training alone, so that nothing has to be remembered.

Every step has its own, whatever ran before it in this process: a run that goes on draws what it would have drawn.
"""

import random
from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from torch.utils.data import Dataset, DistributedSampler


def derive_seed(seed: int, *place: int) -> int:
    """A seed of its own for a place, as independent of its neighbors' as of anything."""
    return int(np.random.SeedSequence([seed, *place]).generate_state(1)[0])


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed all generators for one step on one device: jitter, dropout, and whatever a model draws."""
    number = derive_seed(seed, step, rank)
    torch.manual_seed(number)
    np.random.seed(number)
    random.seed(number)


class ResumableDistributedSampler(DistributedSampler[int]):
    """An order of images for each epoch, of which the first epoch may begin in the middle.

    Args:
        dataset: its length is used.
        replicas: devices that share an epoch.
        rank: which of them this is.
        seed: of the run.
        epoch: the first epoch.
        skip: how many images a device has seen of it.
    """

    def __init__(self, dataset: Dataset[int], replicas: int, rank: int, seed: int, epoch: int, skip: int) -> None:
        super().__init__(dataset, replicas, rank, seed=derive_seed(seed, 2**32 - 1))
        self.epoch, self.seen = epoch, {epoch: skip}

    def __iter__(self) -> Iterator[int]:
        return islice(super().__iter__(), self.seen.get(self.epoch, 0), None)
