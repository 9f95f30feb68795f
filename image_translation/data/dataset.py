"""What a DataLoader needs: pairs as tensors, their order, and workers that finish their work."""

import signal
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any

from torch.utils.data import Dataset, DistributedSampler
from torchvision.transforms.functional import pil_to_tensor

from image_translation.data.images import read_image, resize_image
from image_translation.data.sources.base import Pair, PairSource
from image_translation.training.seeding import derive_seed

ORDER = 2**32 - 1  # its own place among the seeds of a run
GRACE = 60  # seconds that a worker process lives on after SIGTERM


class PairedImageDataset(Dataset[dict[str, Any]]):
    """Yields ``{"input": uint8 (3, S, S), "target": the same, "name": str}``, with those halves that files hold.

    S is ``image_size``; ``resize`` is ``crop`` or ``stretch``; ``background`` is the color below transparent images.
    """

    def __init__(self, pairs: list[Pair], source: PairSource, image_size: int, resize: str, background: str) -> None:
        self.pairs, self.source, self.image_size, self.resize = pairs, source, image_size, resize
        self.background = background

    @property
    def nbytes(self) -> int:
        """The size of all its images as uint8."""
        return len(self) * len(self.source.halves) * 3 * self.image_size**2

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        pair = self.pairs[index]
        halves = self.source.open(pair, partial(read_image, background=self.background))
        images = {half: resize_image(image, self.image_size, self.resize) for half, image in halves.items()}
        return {"name": pair.name} | {half: pil_to_tensor(image) for half, image in images.items()}


class ResumableDistributedSampler(DistributedSampler[int]):
    """Another random order for each epoch, of which each of ``replicas`` processes gets its part.

    It depends on the run's ``seed`` alone. Of the first ``epoch`` this process has already seen ``skip`` images.
    """

    def __init__(
        self, dataset: Dataset[Any], seed: int, replicas: int = 1, rank: int = 0, epoch: int = 0, skip: int = 0
    ) -> None:
        super().__init__(dataset, replicas, rank, seed=derive_seed(seed, ORDER))
        self.epoch, self.seen = epoch, {epoch: skip}

    def __iter__(self) -> Iterator[int]:
        return islice(super().__iter__(), self.seen.get(self.epoch, 0), None)


def outlast_signals(_: int) -> None:
    """Let a worker read on when a terminal or a queue signals all processes, so that the main one can finish its step.

    SIGTERM ends it after a while, in case the main process has sent it and waits.
    """
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE))
