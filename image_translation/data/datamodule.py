"""Pairs on disk → batches on the device."""

import atexit
import logging
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import ImageColor
from pytorch_lightning import LightningDataModule
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from image_translation.cli.errors import UserError, at_least, log2_of, one_of
from image_translation.data.cache import CACHES, DISK_SHARE, SHARE, Cached, DiskCache, MemoryCache, bytes_of
from image_translation.data.dataset import PairedImageDataset
from image_translation.data.images import BACKGROUND, RESIZES
from image_translation.data.integrity import check_images
from image_translation.data.layout import SPLITS, Layout, Pair, PairingError, listing
from image_translation.data.pairs import find_pairs, scan
from image_translation.data.places import cache_home
from image_translation.data.sample import SAMPLE_TASKS, sample_folder
from image_translation.data.sampler import ResumableDistributedSampler
from image_translation.data.transforms import JITTER, jitter, to_float
from image_translation.training.device import free_memory
from image_translation.training.seeding import derive_seed

log = logging.getLogger(__name__)
Batch = dict[str, Any]


class PairedImageDataModule(LightningDataModule):
    """Batches ``{"input": float32 (N, 3, S, S) in [-1, 1], "target": the same, "name": list[str]}`` of paired images.

    Args:
        task: the task's name; without a ``root`` it names ``data/<task>`` or the built-in sample.
        root: the folder with the pairs.
        layout: ``folders`` (two folders, a pair shares the stem of its file name), ``aligned`` (one image holds both
            halves side by side), ``derived`` (one folder of images, from which ``derive`` computes the inputs) or
            ``table`` (a CSV file lists the pairs).
        input_folder: where the inputs are, in the layout ``folders``.
        target_folder: where the targets are; in the other layouts the one folder, or None for the split's own folder.
        table: in the layout ``table``, the CSV file, beside the root or anywhere: columns input, target, split, name.
        direction: ``AtoB``, or ``BtoA`` to swap input and target.
        derive: computes images (N, 3, S, S) from those in the folder, both in [-1, 1], on the device.
        background: the color over which transparent images are laid, as CSS has it: ``white``, ``#808080`` …
        image_size: S, a power of two.
        fit: ``crop`` (keep the proportions and the center) or ``stretch`` images that are not S×S.
        jitter: train on random crops of images enlarged by 286/256, as in the paper.
        hflip: train on images flipped at random.
        batch_size: images in a training batch; ``auto``: whoever trains sets the attribute to what fits.
        eval_batch_size: images in a validation or test batch; no result depends on it.
        num_workers: processes that read images; None chooses by the machine's cores.
        cache: where decoded images stay, as uint8: ``device`` (the GPU's memory, if there is one), ``ram``, ``disk``
            (files that further runs use again), ``none`` (decoded again in every epoch), or ``auto``: the first of
            these that has room enough.
        cache_folder: where the files of ``disk`` are; None for a folder in ``~/.cache``.
        val_fraction: the part of the names that goes to val where there is no folder ``val``.
        test_fraction: the same for test.

    Raises:
        UserError: an argument is out of range; from ``setup``, the data can't be used.
    """

    def __init__(
        self,
        task: str,
        root: str | None = None,
        layout: str = "folders",
        input_folder: str | None = None,
        target_folder: str | None = None,
        table: str | None = None,
        direction: str = "AtoB",
        derive: Callable[[Tensor], Tensor] | None = None,
        background: str = BACKGROUND,
        image_size: int = 256,
        resize: str = "crop",
        jitter: bool = True,
        hflip: bool = True,
        batch_size: Any = 1,
        eval_batch_size: int = 8,
        num_workers: int | None = None,
        cache: str = "auto",
        cache_folder: str | None = None,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
    ) -> None:
        super().__init__()
        if not isinstance(batch_size, str):
            at_least("data.batch_size", batch_size, 1, whole=True)
        elif batch_size != "auto":
            raise UserError(f"data.batch_size must be a whole number or auto, got {batch_size!r}.")
        at_least("data.eval_batch_size", eval_batch_size, 1, whole=True)
        at_least("data.num_workers", num_workers or 0, 0, whole=True)
        log2_of("data.image_size", image_size)
        at_least("data.val_fraction", val_fraction, 0)
        at_least("data.test_fraction", test_fraction, 0)
        if val_fraction + test_fraction > 1:
            raise UserError(
                f"data.val_fraction={val_fraction} and data.test_fraction={test_fraction} are more than all."
            )
        one_of("data.resize", resize, RESIZES)
        for name, value in {"jitter": jitter, "hflip": hflip}.items():
            one_of(f"data.{name}", value, (True, False))
        try:
            ImageColor.getrgb(background)
        except ValueError as error:
            raise UserError(
                f"data.background must be a color such as white or '#808080', got {background!r}."
            ) from error
        # Hydra hands over a number where a folder is called by one.
        root, input_folder, target_folder, table, cache_folder = (
            value if value is None else str(value) for value in (root, input_folder, target_folder, table, cache_folder)
        )
        self.layout = Layout(layout, input_folder, target_folder, direction, table)
        if (derive is None) == (layout == "derived"):
            raise UserError("data.derive goes with data.layout=derived, and only with it (data.derive=null: none).")
        self.task, self.root, self.derive = task, root, derive
        self.background = background
        self.image_size, self.resize, self.jitter, self.hflip = image_size, resize, jitter, hflip
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.num_workers = min(max((os.cpu_count() or 1) - 2, 0), 4) if num_workers is None else num_workers
        self.cache = one_of("data.cache", cache, CACHES)
        self.cache_folder = Path(cache_folder).expanduser() if cache_folder else cache_home() / "decoded"
        self.fractions = {"val_fraction": val_fraction, "test_fraction": test_fraction}
        self.test_split = "test"
        self.datasets: dict[str, PairedImageDataset] = {}
        self.description: dict[str, Any] = {}
        self._place: str | None = None
        self._seed = 0

    def setup(self, stage: str | None = None) -> None:
        """Find, check and fingerprint the pairs, once."""
        if self.datasets:
            return
        root, sample = self._find_root()
        splits = find_pairs(root, self.layout, **self.fractions)
        fingerprint, leaks = check_images(splits, self.layout, self.background)
        if leaks:
            lines = [", ".join(f"{split}/{name}" for split, name in group) for group in leaks]
            log.warning(
                "Inputs in more than one split, so that a model is measured on what it learned by heart: %d. "
                "`python -m image_translation.check` with your options shows them.%s", len(leaks), listing(lines, 10),
            )  # fmt: skip
        self.datasets = {
            split: PairedImageDataset(pairs, self.layout, self.image_size, self.resize, self.background)
            for split, pairs in splits.items()
        }
        counts = {split: len(pairs) for split, pairs in splits.items()}
        self.description = {"root": str(root), "sample": sample, "fingerprint": fingerprint, "counts": counts}
        self.description |= {"leaks": len(leaks)} if leaks else {}
        log.info("Data: %s, %s", root, ", ".join(f"{counts[split]} {split}" for split in SPLITS))

    def scan(self) -> tuple[dict[str, list[Pair]], list[PairingError], Path, bool]:
        """The pairs of each split, what keeps files from being one, the root, and whether that is the sample's.

        Raises:
            UserError: there is nothing to be found.
        """
        root, sample = self._find_root()
        return *scan(root, self.layout, **self.fractions), root, sample

    def _find_root(self) -> tuple[Path, bool]:
        """The folder of the pairs, and whether it is the built-in sample's."""
        if self.root:
            return Path(self.root).expanduser(), False
        if (own := Path("data") / self.task).is_dir():
            return own, False
        if self.task not in SAMPLE_TASKS:
            raise UserError(
                f"data.root is not set, and there is no folder {own}. Name the folder with your pairs: data.root=…"
            )
        log.warning("data.root is not set: using the built-in sample, a few photos with %s made by filters.", self.task)
        return sample_folder(self.task), True

    def require(self, *splits: str) -> None:
        """Check that splits have images, and train as many as a batch.

        Raises:
            UserError: one has none, or too few.
        """
        for split in splits:
            count = len(self.datasets[split])
            if count == 0:
                raise UserError(
                    f"The split {split!r} has no image in {self.description['root']}. Add a folder {split}"
                    + (f", or raise data.{split}_fraction." if split in ("val", "test") else ".")
                )
            if split == "train" and count < self.batch_size:
                raise UserError(
                    f"data.batch_size={self.batch_size} is more than the {count} training images there are."
                )

    def dataloader(self, split: str, train: bool = False) -> DataLoader[Batch]:
        """The loader of one split, shuffled to ``train`` on."""
        dataset = self._cached(split) or self.datasets[split]
        held_by = dataset.device.type if isinstance(dataset, MemoryCache) else None
        workers = 0 if held_by else self.num_workers
        return DataLoader(
            dataset,
            batch_size=self.batch_size if train else self.eval_batch_size,
            sampler=self._shuffle(dataset) if train else None,
            collate_fn=_as_it_is if isinstance(dataset, Cached) else None,
            num_workers=workers,
            worker_init_fn=_outlast_signals,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available() and held_by != "cuda",
        )

    def _shuffle(self, dataset: Any) -> ResumableDistributedSampler:
        """The order of the training images, from the batch on where training begins or goes on."""
        self._seed = torch.initial_seed()
        if self.trainer is None:
            return ResumableDistributedSampler(dataset, 1, 0, self._seed, epoch=0, skip=0)
        loop = self.trainer.fit_loop
        skip = loop.epoch_loop.batch_progress.current.completed * self.batch_size if loop.restarting else 0
        world, rank = self.trainer.world_size, self.trainer.global_rank
        return ResumableDistributedSampler(dataset, world, rank, self._seed, self.trainer.current_epoch, skip)

    def _cached(self, split: str) -> Cached | None:
        """One split's decoded images, if they are needed again and again, and there is room."""
        if self.trainer is None or self.trainer.state.fn != TrainerFn.FITTING:
            return None
        device, pairs = self.trainer.strategy.root_device, self.datasets[split]
        match self._choose_place(device) if pairs.pairs else "none":
            case "device":
                return MemoryCache(pairs, device)
            case "ram":
                return MemoryCache(pairs, torch.device("cpu"))
            case "disk":
                return DiskCache(pairs, self.description["fingerprint"], split, self.cache_folder)
        return None

    def cached_bytes(self, device: torch.device) -> int:
        """What the images of train and val take of a device's memory in training; 0 if they don't stay there.

        Raises:
            UserError: they are to stay there, and don't fit.
        """
        place = self._choose_place(device)
        return self._needed(device) if place == "device" or (place == "ram" and device.type == "cpu") else 0

    def _choose_place(self, device: torch.device) -> str:
        """Where decoded images stay in training, decided once: asked later, a part of the memory would be taken."""
        if self._place is None:
            self._place = self._room(device) if self.cache == "auto" else self.cache
            if self._place in ("device", "ram"):
                self._require_room(device if self._place == "device" else torch.device("cpu"))
        return self._place

    def _needed(self, device: torch.device) -> int:
        needed = sum(bytes_of(self.datasets[split]) for split in ("train", "val"))
        shared_by = self.trainer.num_devices if device.type == "cpu" and self.trainer else 1  # processes of one memory
        return needed * shared_by

    def _room(self, device: torch.device) -> str:
        """The first place that has room enough."""
        for place, where in {"device": device, "ram": torch.device("cpu")}.items():
            free = free_memory(where)
            if free is not None and self._needed(where) <= free / SHARE:
                return place
        needed = self._needed(torch.device("cpu"))
        there = next(folder for folder in (self.cache_folder, *self.cache_folder.parents) if folder.exists())
        place = "disk" if needed <= shutil.disk_usage(there).free / DISK_SHARE else "none"
        what = "stay decoded on the disk" if place == "disk" else "are read anew in every epoch"
        log.info("The images of train and val, %.0f MiB, %s (data.cache=%s).", needed / 2**20, what, place)
        return place

    def _require_room(self, device: torch.device) -> None:
        needed, free = self._needed(device), free_memory(device)
        if self.cache != "auto" and free is not None and needed > free:
            raise UserError(
                f"data.cache={self.cache}: the images of train and val take {needed / 2**20:,.0f} MiB, and "
                f"{free / 2**20:,.0f} MiB of {device} are free. Use data.cache=disk."
            )

    def train_dataloader(self) -> DataLoader[Batch]:
        return self.dataloader("train", train=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        return self.dataloader("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        return self.dataloader(self.test_split)

    def predict_dataloader(self) -> DataLoader[Batch]:
        return self.dataloader(self.test_split)

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        if self.trainer is not None and self.trainer.training:
            torch.manual_seed(
                derive_seed(
                    self._seed,
                    self.trainer.current_epoch,
                    self.trainer.fit_loop.batch_idx + 1,
                    self.trainer.global_rank,
                )
            )
        return batch

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        return self.finish_batch(batch, augment=self.trainer is not None and self.trainer.training)

    def finish_batch(self, batch: Batch, augment: bool = False) -> Batch:
        """On the device: numbers in [-1, 1], jitter if ``augment``, and the derived input."""
        halves = [batch[half] for half in ("input", "target") if half in batch]
        if augment and (self.jitter or self.hflip):
            halves = jitter(*halves, scale=JITTER if self.jitter else 1.0, hflip=self.hflip)
        else:
            halves = [to_float(half) for half in halves]
        if self.derive is not None:
            halves.insert(0, self.derive(halves[0]))
            if self.layout.direction == "BtoA":
                halves.reverse()
        return {"input": halves[0], "target": halves[1], "name": batch["name"]}

    def fixed_batch(self, split: str, count: int, device: torch.device) -> Batch:
        """``count`` images spread evenly over a split, always the same ones, without jitter."""
        dataset = self.datasets[split]
        count = min(count, len(dataset))
        batch: Batch = default_collate([dataset[i * len(dataset) // count] for i in range(count)])
        return self.finish_batch({k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()})


def _as_it_is(batch: Any) -> Any:
    """Instead of ``default_collate``: the cache hands out whole batches."""
    return batch


def _outlast_signals(_: int) -> None:
    """Let a reader go on when a terminal or a queue signals all processes; the main one decides when training ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@atexit.register
def _end_readers() -> None:
    """Here, because multiprocessing would ask them by SIGTERM and wait."""
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()
