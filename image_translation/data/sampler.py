"""The order of training images, which a resumed run continues where it stopped."""

from collections.abc import Iterator
from itertools import islice

from torch.utils.data import Dataset, DistributedSampler

from image_translation.training.seeding import derive_seed


class ResumableDistributedSampler(DistributedSampler[int]):
    def __init__(self, dataset: Dataset[int], replicas: int, rank: int, seed: int, epoch: int, skip: int) -> None:
        super().__init__(dataset, replicas, rank, seed=derive_seed(seed, 2**32 - 1))
        self.epoch, self.seen = epoch, {epoch: skip}

    def __iter__(self) -> Iterator[int]:
        return islice(super().__iter__(), self.seen.get(self.epoch, 0), None)
