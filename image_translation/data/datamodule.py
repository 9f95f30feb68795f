"""Pairs on disk → batches on the device."""

import atexit
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningDataModule
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from image_translation.data.cache import CACHES, SHARE, DeviceCache, bytes_of
from image_translation.data.dataset import PairedImageDataset
from image_translation.data.pairs import SPLITS, Layout, find_pairs
from image_translation.data.pictures import FITS, check_pictures
from image_translation.data.sample import SAMPLE_TASKS, sample_folder
from image_translation.data.transforms import JITTER, jitter, to_float
from image_translation.device import free_memory
from image_translation.errors import UserError, at_least, log2_of, one_of

log = logging.getLogger(__name__)
Batch = dict[str, Any]


class PairedImageDataModule(LightningDataModule):
    """Batches ``{"input": float32 (N, 3, S, S) in [-1, 1], "target": the same, "name": list[str]}`` of paired pictures.

    Args:
        task: the task's name; without a ``root`` it names ``data/<task>`` or the built-in sample.
        root: the folder with the pairs.
        layout: ``folders`` (two folders, a pair shares the stem of its file name), ``aligned`` (one picture holds both
            halves side by side) or ``derived`` (one folder of targets, from which ``derive`` computes the input).
        input_folder: where the inputs are, in the layout ``folders``.
        target_folder: where the targets are; in the other layouts the one folder, or None for the split's own folder.
        direction: ``AtoB``, or ``BtoA`` to swap input and target.
        derive: computes the input (N, 3, S, S) from the target, both in [-1, 1], on the device.
        image_size: S, a power of two.
        fit: ``crop`` (keep the proportions and the centre) or ``squash`` pictures that are not S×S.
        jitter: train on random crops of pictures enlarged by 286/256, as in the paper.
        mirror: train on pictures mirrored at random.
        batch_size: pictures in a training batch; ``auto``: whoever trains sets the attribute to what fits.
        eval_batch_size: pictures in a validation or test batch; no result depends on it.
        num_workers: processes that read pictures; None chooses by the machine's cores.
        cache: where pictures stay once they are read: ``device`` (as uint8 in the GPU's or the CPU's memory), ``none``
            (they are read again in every epoch), or ``auto``, the device if a quarter of its free memory is enough.
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
        direction: str = "AtoB",
        derive: Callable[[Tensor], Tensor] | None = None,
        image_size: int = 256,
        fit: str = "crop",
        jitter: bool = True,
        mirror: bool = True,
        batch_size: Any = 1,
        eval_batch_size: int = 8,
        num_workers: int | None = None,
        cache: str = "auto",
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
        one_of("data.fit", fit, FITS)
        for name, value in {"jitter": jitter, "mirror": mirror}.items():
            one_of(f"data.{name}", value, (True, False))
        self.layout = Layout(layout, input_folder, target_folder, direction)
        if (derive is None) == (layout == "derived"):
            raise UserError("data.derive goes with data.layout=derived, and only with it (data.derive=null: none).")
        self.task, self.root, self.derive = task, root, derive
        self.image_size, self.fit, self.jitter, self.mirror = image_size, fit, jitter, mirror
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.num_workers = min(max((os.cpu_count() or 1) - 2, 0), 4) if num_workers is None else num_workers
        self.cache = one_of("data.cache", cache, CACHES)
        self.fractions = {"val_fraction": val_fraction, "test_fraction": test_fraction}
        self.test_split = "test"
        self.datasets: dict[str, PairedImageDataset] = {}
        self.description: dict[str, Any] = {}
        self._cached_bytes: int | None = None

    def setup(self, stage: str | None = None) -> None:
        """Find, check and fingerprint the pairs, once."""
        if self.datasets:
            return
        root, sample = self._find_root()
        splits = find_pairs(root, self.layout, **self.fractions)
        fingerprint = check_pictures(splits, self.layout)
        self.datasets = {
            split: PairedImageDataset(pairs, self.layout, self.image_size, self.fit) for split, pairs in splits.items()
        }
        counts = {split: len(pairs) for split, pairs in splits.items()}
        self.description = {"root": str(root), "sample": sample, "fingerprint": fingerprint, "counts": counts}
        log.info("Data: %s, %s", root, ", ".join(f"{counts[split]} {split}" for split in SPLITS))

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
        """Check that splits have pictures, and train as many as a batch.

        Raises:
            UserError: one has none, or too few.
        """
        for split in splits:
            count = len(self.datasets[split])
            if count == 0:
                raise UserError(
                    f"The split {split!r} has no picture in {self.description['root']}. Add a folder {split}"
                    + (f", or raise data.{split}_fraction." if split in ("val", "test") else ".")
                )
            if split == "train" and count < self.batch_size:
                raise UserError(
                    f"data.batch_size={self.batch_size} is more than the {count} training pictures there are."
                )

    def dataloader(self, split: str, train: bool = False) -> DataLoader[Batch]:
        """The loader of one split, shuffled to ``train`` on."""
        options: dict[str, Any] = {"batch_size": self.batch_size if train else self.eval_batch_size, "shuffle": train}
        if cache := self._cache(split):
            return DataLoader(cache, collate_fn=_as_it_is, **options)
        return DataLoader(
            self.datasets[split],
            num_workers=self.num_workers,
            worker_init_fn=_outlast_signals,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            **options,
        )

    def _cache(self, split: str) -> DeviceCache | None:
        """A cache of one split, if its pictures are needed again and again, and there is room."""
        if self.cache == "none" or self.trainer is None or self.trainer.state.fn != TrainerFn.FITTING:
            return None
        device = self.trainer.strategy.root_device
        return DeviceCache(self.datasets[split], device) if self.cached_bytes(device) else None

    def cached_bytes(self, device: torch.device) -> int:
        """What the pictures of train and val take of a device's memory in training; 0 if they don't stay there.

        Raises:
            UserError: they are to stay there, and don't fit.
        """
        if self._cached_bytes is None:  # asked later, part of it would be taken already
            self._cached_bytes = self._decide(device)
        return self._cached_bytes

    def _decide(self, device: torch.device) -> int:
        if self.cache == "none":
            return 0
        needed, free = sum(bytes_of(self.datasets[split]) for split in ("train", "val")), free_memory(device)
        if device.type == "cpu" and self.trainer is not None:
            needed *= self.trainer.num_devices  # processes of one memory
        sizes = f"{needed / 2**20:,.0f} MiB"
        if free is not None:
            sizes += f", and {free / 2**20:,.0f} MiB of {device} are free"
        if self.cache == "device" and free is not None and needed > free:
            raise UserError(f"data.cache=device: the pictures of train and val take {sizes}. Use data.cache=none.")
        if self.cache == "auto" and (free is None or needed > free / SHARE):
            log.info("Pictures are read anew in every epoch: those of train and val take %s.", sizes)
            return 0
        return needed

    def train_dataloader(self) -> DataLoader[Batch]:
        return self.dataloader("train", train=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        return self.dataloader("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        return self.dataloader(self.test_split)

    def predict_dataloader(self) -> DataLoader[Batch]:
        return self.dataloader(self.test_split)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        return self.finish_batch(batch, augment=self.trainer is not None and self.trainer.training)

    def finish_batch(self, batch: Batch, augment: bool = False) -> Batch:
        """On the device: numbers in [-1, 1], jitter if ``augment``, and the derived input."""
        halves = [to_float(batch[half]) for half in ("input", "target") if half in batch]
        if augment and (self.jitter or self.mirror):
            both = jitter(torch.cat(halves, dim=1), JITTER if self.jitter else 1.0, self.mirror)
            halves = list(torch.split(both, 3, dim=1))
        source = halves[0] if self.derive is None else self.derive(halves[0])
        return {"input": source, "target": halves[-1], "name": batch["name"]}

    def fixed_batch(self, split: str, count: int, device: torch.device) -> Batch:
        """``count`` pictures spread evenly over a split, always the same ones, without jitter."""
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
