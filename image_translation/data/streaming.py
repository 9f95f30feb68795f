"""Training pairs that are read while training, because they are too many for the disk."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import torch
from torch import distributed
from torch.utils.data import default_collate

from image_translation.cli.errors import UserError
from image_translation.data.dataset import as_arrays, window
from image_translation.data.images import in_threads
from image_translation.data.integrity import decode
from image_translation.data.kinds import Kind, form_of
from image_translation.data.sources.hub import HubPairs, shard_sizes
from image_translation.training.seeding import derive_seed

log = logging.getLogger(__name__)
BLOCK = 256  # pairs that are read ahead, and put in random order
TOO_MANY = 100  # pairs in a row that can't be used
STATE = "stream"  # a batch's name for where its stream is after it


class PairStream:
    """Batches of pairs, in another order in each epoch: the shards in random order, ten at a time, in shuffled blocks.

    Each of ``replicas`` processes gets its part. Of pairs that can't be used the log tells; they are left out.

    Args:
        rows: a ``datasets.IterableDataset``.
        load: an item of a batch, from a row, its number, and a seed for what is random in it.
        batch_size, seed, replicas, rank: as for other loaders.
        epoch: tells which epoch begins.
        state: where an earlier run was in this epoch: the same batches follow as would have followed then.
        agree: of several processes, whether all have another batch; all end together.
    """

    def __init__(
        self, rows: Any, load: Callable[[Mapping[str, Any], int, int], dict[str, Any]], batch_size: int, seed: int,
        replicas: int = 1, rank: int = 0, epoch: Callable[[], int] = lambda: 0, state: str | None = None,
        agree: Callable[[bool], bool] = bool,
    ) -> None:  # fmt: skip
        self.rows, self.load, self.batch_size, self.seed = rows, load, batch_size, seed
        self.replicas, self.rank, self.epoch, self.agree = replicas, rank, epoch, agree
        self.first = {epoch(): state} if state else {}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        batches = self._batches(self.epoch())
        while self.agree((batch := next(batches, None)) is not None) and batch is not None:
            yield batch

    def _batches(self, epoch: int) -> Iterator[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        for item, state in self._items(epoch):
            items.append(item)
            if len(items) == self.batch_size:
                yield default_collate(items) | {STATE: state}
                items = []
        if items:
            yield default_collate(items) | {STATE: state}

    def _items(self, epoch: int) -> Iterator[tuple[dict[str, Any], str]]:
        """Items, and for each where the stream is after it."""
        refused = 0
        for place, number, rows in self._blocks(epoch, self.first.pop(epoch, None)):
            seeds = [derive_seed(self.seed, epoch, number, self.rank, position) for position in range(BLOCK)]
            order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seeds[0])).tolist()
            skipped = place["done"]
            todo = [(rows[i], number * BLOCK + i, seeds[i]) for i in order[skipped:]]
            for done, item in enumerate(in_threads(self._load, todo), skipped + 1):
                if isinstance(item, UserError):
                    refused += 1
                    log.warning("Left out of the training: %s", item)
                    if refused == TOO_MANY:
                        raise UserError(f"{refused} pairs in a row can't be used, the last because of: {item}")
                    continue
                refused = 0
                yield item, json.dumps(place | {"done": done})

    def _load(self, todo: tuple[Mapping[str, Any], int, int]) -> dict[str, Any] | UserError:
        try:
            return self.load(*todo)
        except UserError as error:
            return error

    def _blocks(self, epoch: int, state: str | None) -> Iterator[tuple[dict[str, Any], int, list[Any]]]:
        """Rows in the order of this epoch, each block with its place and its number; the next one is read meanwhile."""
        from datasets.distributed import split_dataset_by_node

        # Its own buffer would forget what is in it: a buffer of one only interleaves the shards.
        stream = self.rows.shuffle(seed=derive_seed(self.seed, epoch), buffer_size=1)
        stream = split_dataset_by_node(stream, self.rank, self.replicas)
        place: dict[str, Any] = json.loads(state) if state else {"block": 0, "done": 0, "at": None}
        if place["at"]:
            stream.load_state_dict(place["at"])
        rows = iter(stream)

        def read() -> tuple[Any, list[Any]]:
            try:
                return stream.state_dict(), list(islice(rows, BLOCK))
            except Exception as error:  # of the network or a shard
                raise UserError(f"Streaming the training pairs ended: {str(error) or type(error).__name__}") from error

        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(read)
            while (block := coming.result())[1]:
                coming = pool.submit(read)
                yield place | {"at": place["at"] if place["done"] else block[0]}, place["block"], block[1]
                place = {"block": place["block"] + 1, "done": 0, "at": None}


def agreement(processes: int) -> Callable[[bool], bool]:
    """Whether all of several processes say yes; asked between the hosts, so that no device is waited for."""
    if processes == 1:
        return bool
    group: Any = distributed.new_group(backend="gloo")

    def agree(mine: bool) -> bool:
        state = torch.tensor(int(mine))
        distributed.all_reduce(state, distributed.ReduceOp.MIN, group)
        return bool(state)

    return agree


class Streaming:
    """The training images of a datamodule that streams them, and where in its stream a training is."""

    def __init__(self, datamodule: Any, kinds: tuple[Kind, Kind]) -> None:
        self.data, self.source = datamodule, datamodule.source
        assert isinstance(self.source, HubPairs)
        both = dict(zip(("input", "target"), kinds, strict=True))
        self.kinds = {half: both[half] for half in self.source.halves}
        self.before, self.after = "", ""  # the latest batch: checkpoints are saved before it is trained on
        self.saved: list[str] = []  # of each process of an earlier run

    def fingerprint(self, others: str) -> str:
        """Of the shards' names and sizes, and of the other splits' images."""
        sizes = shard_sizes(self.source.shards["train"])
        return hashlib.sha256("\n".join([*sizes, others]).encode()).hexdigest()

    def loader(self, train: bool) -> PairStream:
        """Batches to train on, from where training begins or is resumed; or those of the first epoch."""
        data, rows = self.data, self.source.stream(self.data.root)
        if data.trainer is None or not train:
            return PairStream(rows, self.load, data.eval_batch_size, torch.initial_seed())
        data.seed, trainer, loop = torch.initial_seed(), data.trainer, data.trainer.fit_loop
        place, state = (trainer.world_size, trainer.global_rank, lambda: trainer.current_epoch), None
        if loop.restarting and loop.batch_idx >= 0:
            self.after = state = self.saved[trainer.global_rank]
        return PairStream(rows, self.load, data.batch_size, data.seed, *place, state, agreement(trainer.world_size))

    def load(self, row: Mapping[str, Any], number: int, seed: int) -> dict[str, Any]:
        """An item like those of the training images on disk; UserError for a pair that would be refused there."""
        pair = self.source.streamed_pair(row, number)
        found = decode(pair, self.source, self.data.background, self.kinds)
        for half, image in found.halves.items():
            if (form := form_of(image)) != (self.kinds[half].stored, self.kinds[half].dtype):
                found.problems.append(f"its {half} has {form[0]} channels of {form[1]}")
        if found.problems:
            raise UserError(f"{pair.name}: {'; '.join(found.problems)}")
        if self.data.resize == "random_crop":
            return {"name": pair.name} | window(as_arrays(found.halves), self.data.sides, seed)
        images: dict[str, Any] = self.data.training.fit(found.halves)
        return images | {"name": pair.name}

    def move(self, batch: dict[str, Any]) -> None:
        """Note where the stream is, and take that out of the batch."""
        self.before, self.after = self.after, batch.pop(STATE, "")

    def state_dict(self) -> dict[str, Any]:
        """The places of all processes, as plain values."""
        places = [self.before]
        if distributed.is_initialized():
            places *= distributed.get_world_size()
            distributed.all_gather_object(places, self.before)
        return {"streams": places}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.saved = state["streams"]
