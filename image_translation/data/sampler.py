"""The order of training images, and worker processes that finish their work."""

import signal
from collections.abc import Iterator
from itertools import islice
from typing import Any

from torch.utils.data import DataLoader, Dataset, DistributedSampler

from image_translation.training.seeding import derive_seed

# None on Windows, which has no masks.
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, "alarm")]


class ResumableDistributedSampler(DistributedSampler[int]):
    """Another random order for each epoch, of which each of ``replicas`` processes gets its part.

    It depends on the run's ``seed`` alone. Of the first ``epoch`` this process has already seen ``skip`` images. With
    ``numbers`` each image comes with a random number, another one in each epoch.
    """

    def __init__(
        self, dataset: Dataset[Any], seed: int, replicas: int = 1, rank: int = 0, epoch: int = 0, skip: int = 0,
        numbers: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(dataset, replicas, rank, seed=derive_seed(seed, 2**32 - 1))  # like no place in training
        self.epoch, self.seen, self.numbers = epoch, {epoch: skip}, numbers

    def __iter__(self) -> Iterator[Any]:
        indices = islice(super().__iter__(), self.seen.get(self.epoch, 0), None)
        if not self.numbers:
            return indices
        return ((index, derive_seed(self.seed, self.epoch, index)) for index in indices)


class OutlastingLoader(DataLoader[Any]):
    """Its workers read on when a terminal or a queue signals all processes, so that the main one can finish its step.

    SIGTERM ends them after a minute, in case the main process has sent it and waits.
    """

    def __iter__(self) -> Any:
        if not SIGNALS:
            return super().__iter__()
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # workers begin with the same mask
        try:
            return super().__iter__()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def outlast_signals(_: int) -> None:
    """The ``worker_init_fn`` of ``OutlastingLoader``."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if SIGNALS:
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(60))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
