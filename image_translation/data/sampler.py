"""The order of training images."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from torch.utils.data import Dataset, DistributedSampler

from image_translation.training.seeding import derive_seed

ORDER = 2**32 - 1  # its own place among the seeds of a run


class ResumableDistributedSampler(DistributedSampler[int]):
    """Another random order for each epoch, of which each of ``replicas`` processes gets its part.

    It depends on the run's ``seed`` alone. Of the first ``epoch`` this process has already seen ``skip`` images.
    """

    def __init__(
        self, dataset: Dataset[Any], replicas: int, rank: int, seed: int, epoch: int = 0, skip: int = 0
    ) -> None:
        super().__init__(dataset, replicas, rank, seed=derive_seed(seed, ORDER))
        self.epoch, self.seen = epoch, {epoch: skip}

    def __iter__(self) -> Iterator[int]:
        return islice(super().__iter__(), self.seen.get(self.epoch, 0), None)
