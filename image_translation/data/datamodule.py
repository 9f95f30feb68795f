"""Pairs on disk → batches on the device."""

import builtins
import logging
import math
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pooch
import torch
from PIL import ImageColor
from pytorch_lightning import LightningDataModule
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from image_translation.cli.errors import UserError, at_least, height_and_width, one_of
from image_translation.data.caching import Cached, MemoryCache, choose_cache, kept
from image_translation.data.dataset import Held, PairedImageDataset, Windows
from image_translation.data.derived_inputs import describe
from image_translation.data.images import tell_crop_loss
from image_translation.data.integrity import check_images, refuse_small
from image_translation.data.kinds import complete, make_kinds
from image_translation.data.roots import scan
from image_translation.data.sampler import OutlastingLoader, ResumableDistributedSampler, outlast_signals
from image_translation.data.sources import SOURCES
from image_translation.data.sources.base import SPLITS, Pair, PairingError, raise_for
from image_translation.data.sources.hub import HubImages
from image_translation.data.streaming import Streaming
from image_translation.data.transforms import JITTER, random_crop, to_float, to_stored
from image_translation.training.seeding import derive_seed

log = logging.getLogger(__name__)
Batch = dict[str, Any]
TRAINING = "training"  # the training images, as large as random crops need them
RESIZE = ("crop", "stretch", "pad", "random_crop")
EVALUATED = {"pad": "fit", "random_crop": "whole"}  # how val and test images are resized, where it is not the same
AUGMENTATION = 1  # tells its seeds from those of a model's steps


class PairedImageDataModule(LightningDataModule):
    """Batches ``{"input": float32 (N, C, H, W) in [-1, 1], "target": likewise, "name": list[str]}`` of paired images.

    The arguments are those of ``conf/data/pairs.yaml``, which explains them. ``derive`` computes images (N, C, H, W) in
    [-1, 1] from others, on the device. Where val and test images have sizes of their own, they come one by one. If
    ``batch_size`` is ``auto``, whoever trains sets the attribute to a number.
    UserError if an argument is out of range, and from ``setup`` if the data can't be used.
    """

    def __init__(
        self,
        task: str,
        root: str | None = None,
        layout: str = "folders",
        input_folder: str | Sequence[str] | None = None,
        target_folder: str | None = None,
        table: str | None = None,
        input_suffix: str = "",
        target_suffix: str = "",
        direction: str = "AtoB",
        derive: Callable[[Tensor], Tensor] | None = None,
        input: str = "rgb",  # noqa: A002
        target: str = "rgb",
        classes: int | None = None,
        ignore: int | None = None,
        range: Sequence[Any] | None = None,  # noqa: A002
        show: Sequence[int] | None = None,
        background: str = "white",
        image_size: int | Sequence[int] = 256,
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
        folds: int | None = None,
        fold: int = 0,
        streaming: bool = False,
    ) -> None:
        super().__init__()
        root, target_folder, table, cache_folder = (  # Hydra passes folders named 2024 as numbers
            None if name is None else str(name) for name in (root, target_folder, table, cache_folder)
        )
        if isinstance(input_folder, Sequence) and not isinstance(input_folder, str):
            input_folder = tuple(map(str, input_folder))
        elif input_folder is not None:
            input_folder = str(input_folder)
        at_least("batch_size", 1 if batch_size == "auto" else batch_size, 1, whole=True)
        at_least("eval_batch_size", eval_batch_size, 1, whole=True)
        self.sides = height_and_width("image_size", image_size)
        ImageColor.getrgb(background)  # ValueError
        places = (input_folder, target_folder, table, direction, str(input_suffix), str(target_suffix), streaming)
        source = HubImages if layout == "hub" and derive is not None else SOURCES[one_of("layout", layout, SOURCES)]
        self.source = source(*places)
        if (derive is None) == ("input" not in self.source.halves):
            raise UserError("derive goes with layout=derived or hub, and only with them (derive=null: none).")
        input = target if derive is not None else input  # noqa: A001
        if layout == "aligned" and input != target:
            raise UserError(f"layout=aligned: both halves are of one kind, got input={input} target={target}.")
        names = {"input": input, "target": target}
        self.kinds = make_kinds(names, self.source.parts, classes, ignore, range, show)
        self.source.with_arrays = any(kind.name == "raw" for kind in self.kinds.values())
        self.task, self.root, self.derive, self.background, self.image_size = task, root, derive, background, image_size
        self.resize = one_of("resize", resize, RESIZE)
        self.jitter, self.hflip = one_of("jitter", jitter, (True, False)), one_of("hflip", hflip, (True, False))
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.num_workers = min(max((os.cpu_count() or 1) - 2, 0), 4) if num_workers is None else num_workers
        self.cache = one_of("cache", cache, ("auto", "device", "ram", "disk", "none"))
        self.cache_folder = Path(cache_folder or pooch.os_cache("image_translation") / "decoded").expanduser()
        at_least("folds", 2 if folds is None else folds, 2, whole=True)
        if folds is not None:
            one_of("fold", fold, builtins.range(folds))  # an option is called range
        self.division: dict[str, Any] = {
            "val_fraction": val_fraction, "test_fraction": test_fraction, "folds": folds, "fold": fold
        }  # fmt: skip
        self.test_split = "test"
        self.datasets: dict[str, PairedImageDataset] = {}
        self.caches: dict[str, Dataset[dict[str, Any]]] = {}  # the same, decoded
        self.description: dict[str, Any] = {}  # of the data, for the manifest
        self.seed = 0  # of the run
        self.stream: Streaming | None = None

    def setup(self, stage: str | None = None) -> None:
        """Find, check and fingerprint the pairs, once."""
        if self.datasets:
            return
        splits, errors, root, is_sample = self.scan()
        raise_for(errors)
        fingerprint, leaks, sizes, forms = check_images(splits, self.source, root, self.background, self.kinds)
        told = forms if "input" in forms else {**forms, "input": forms["target"]}
        self.kinds = {half: complete(kind, f"data.{half}", told[half]) for half, kind in self.kinds.items()}
        kinds = self.kinds["input"], self.kinds["target"]
        if self.resize in EVALUATED and not kinds[1].classes:
            refuse_small(splits, sizes, self.sides if self.resize == "pad" else None)
        form = self.source, self.sides, EVALUATED.get(self.resize, self.resize), self.background, kinds
        self.datasets = {
            split: PairedImageDataset(pairs, *form, pixels=sum(map(math.prod, sizes[split])))
            for split, pairs in splits.items()
        }
        if self.resize == "random_crop":
            self.training = self.datasets["train"]
        else:
            # Larger from their files: enlarged from the size of the others they would be blurred, and so the outputs.
            height, width = (round(side * JITTER) if self.jitter else side for side in self.sides)
            form = self.source, (height, width), self.resize, self.background, kinds
            self.training = PairedImageDataset(splits["train"], *form, quick=self.source.is_apart)
        counts: dict[str, int | None] = {split: len(splits[split]) for split in SPLITS}
        if self.source.streaming:
            self.stream = Streaming(self, kinds)
            counts["train"], fingerprint = None, self.stream.fingerprint(fingerprint)
        self.description = {"root": str(root), "sample": is_sample, "fingerprint": fingerprint, "counts": counts}
        self.description |= {"leaks": leaks} if leaks else {}
        if self.resize == "crop":
            tell_crop_loss([size for of_split in sizes.values() for size in of_split], self.sides)
        numbers = ", ".join(f"{'streamed' if count is None else count} {split}" for split, count in counts.items())
        log.info("Data: %s, %s", root, numbers)

    @property
    def facts(self) -> dict[str, Any]:
        """What one must know to use a model that was trained on these images: plain values, for its checkpoint."""
        derived = describe(self.derive) if self.source.direction == "AtoB" else None
        facts = {"task": self.task, "image_size": self.image_size, "background": self.background, "derive": derived}
        return facts | {half: kind.describe() for half, kind in self.kinds.items()}

    @property
    def channels(self) -> dict[str, int]:
        """The arguments of a model for these images, unless they have three channels as usual."""
        numbers = {"in_channels": self.kinds["input"].channels, "out_channels": self.kinds["target"].channels}
        return numbers if set(numbers.values()) != {3} else {}

    def scan(self) -> tuple[dict[str, list[Pair]], list[PairingError], Path | str, bool]:
        """The pairs of each split, what keeps other files from being pairs, the root, and if that is the sample's."""
        found, root, is_sample = scan(self.source, self.root, self.task, **self.division)
        return *found, root, is_sample

    def require(self, *splits: str) -> None:
        """Raise a UserError if a split has no image, or train fewer than a batch."""
        for split in splits:
            if self.stream and split == "train":
                continue
            count = len(self.datasets[split])
            if count == 0:
                where = f"The split {split!r} has no image in {self.description['root']}."
                raise UserError(f"{where} Add a folder {split}, or change data.val_fraction and data.test_fraction.")
            if split == "train" and self.batch_size != "auto" and count < self.batch_size:
                raise UserError(f"data.batch_size={self.batch_size} is more than the {count} training images.")

    def train_dataloader(self) -> Any:
        return self.dataloader("train", train=True)

    def val_dataloader(self) -> Any:
        return self.dataloader("val")

    def test_dataloader(self) -> Any:
        return self.dataloader(self.test_split)

    def dataloader(self, split: str, train: bool = False, indices: Sequence[int] | None = None) -> Any:
        """The loader of one split, in random order to ``train`` on; or of some images of it."""
        if self.stream and split in ("train", TRAINING):
            return self.stream.loader(train)
        dataset = self._images(TRAINING if train and (self.trainer or self.resize in EVALUATED) else split)
        memory = dataset.device.type if isinstance(dataset, MemoryCache) else None
        is_held = isinstance(dataset.dataset if isinstance(dataset, Windows) else dataset, Held)
        workers = 0 if memory or is_held else self.num_workers
        one_by_one = getattr(dataset, "sizes_differ", False)
        # A trainer decides when its workers end, and ends them.
        loader, init = (DataLoader, None) if self.trainer is None else (OutlastingLoader, outlast_signals)
        return loader(
            dataset,
            batch_size=self.batch_size if train else 1 if one_by_one else self.eval_batch_size,
            sampler=self._sampler(dataset) if train else indices,
            collate_fn=dict if isinstance(dataset, Cached) else None,  # a cache returns whole batches
            num_workers=workers,
            worker_init_fn=init,
            persistent_workers=workers > 0 and self.trainer is not None,
            pin_memory=torch.cuda.is_available() and memory != "cuda",
        )

    def _sampler(self, dataset: Dataset[Any]) -> ResumableDistributedSampler:
        """The order of the training images, from the batch on where training begins or is resumed."""
        self.seed = torch.initial_seed()
        if self.trainer is None:
            return ResumableDistributedSampler(dataset, self.seed, numbers=isinstance(dataset, Windows))
        trainer, loop = self.trainer, self.trainer.fit_loop
        seen = (loop.batch_idx + 1) * self.batch_size if loop.restarting else 0
        place = (trainer.world_size, trainer.global_rank, trainer.current_epoch, seen)
        return ResumableDistributedSampler(dataset, self.seed, *place, numbers=isinstance(dataset, Windows))

    def _images(self, split: str) -> Dataset[dict[str, Any]]:
        """A split's images: in training, which needs them again and again, from where they stay decoded."""
        dataset: Any = self.training if split == TRAINING else self.datasets[split]
        if self.trainer and self.trainer.state.fn == TrainerFn.FITTING and len(dataset):
            device = self.trainer.strategy.root_device
            if self.cache == "auto":  # decided once, before a part of the memory is taken
                needed = self.training.nbytes + self.datasets["val"].nbytes
                self.cache = choose_cache(needed, device, self.trainer.num_devices, self.cache_folder)
            if split not in self.caches:
                place = self.cache, device, self.cache_folder
                self.caches[split] = kept(dataset, *place, self.description["fingerprint"], split)
            dataset = self.caches[split]
        return Windows(dataset, self.sides) if split == TRAINING and self.resize == "random_crop" else dataset

    def state_dict(self) -> dict[str, Any]:
        return self.stream.state_dict() if self.stream else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self.stream:
            self.stream.load_state_dict(state_dict)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        if self.trainer is None or not self.trainer.training:
            return self.finish_batch(batch)
        if self.stream:
            self.stream.move(batch)
        # By the place in training, so that a resumed run draws the same.
        place = (self.trainer.fit_loop.total_batch_idx + 1, self.trainer.global_rank, AUGMENTATION)
        return self.finish_batch(batch, torch.Generator().manual_seed(derive_seed(self.seed, *place)))

    def finish_batch(self, batch: Batch, generator: torch.Generator | None = None) -> Batch:
        """On the device: numbers in [-1, 1], cropped if there is a ``generator`` to draw it, and the derived input."""
        halves, kinds = [batch[half] for half in self.source.halves], [self.kinds[half] for half in self.source.halves]
        if generator is None:
            halves = [to_float(half, kind) for half, kind in zip(halves, kinds, strict=True)]
        else:
            halves = random_crop(*halves, size=self.sides, hflip=self.hflip, generator=generator, kinds=kinds)
        if self.derive is not None:
            kind = self.kinds["input"]
            halves.insert(0, to_float(to_stored(self.derive(halves[0]), kind), kind))  # as a file would have it
            if self.source.direction == "BtoA":
                halves.reverse()
        return dict(zip(("input", "target"), halves, strict=True)) | {"name": batch["name"]}

    def plain_batches(self, split: str, device: torch.device, most: int | None = None) -> Iterator[Batch]:
        """The images of a split, or those to train on as large as they are cropped from, in batches on a device.

        Of more than ``most`` images so many, spread evenly.
        """
        count = len(self.training if split == TRAINING else self.datasets[split])
        chosen = None if most is None or count <= most else [i * count // most for i in range(most)]
        batches = self.dataloader(split, indices=chosen)
        for batch in islice(batches, None if most is None else -(-most // self.eval_batch_size)):
            yield self.finish_batch(self.transfer_batch_to_device(batch, device, 0))

    def fixed_batches(self, split: str, count: int, device: torch.device) -> Iterator[Batch]:
        """``count`` images spread evenly over a split, always the same ones, in batches of one."""
        dataset = self.datasets[split]
        count = min(count, len(dataset))
        for i in range(count):
            batch: Batch = default_collate([dataset[i * len(dataset) // count]])
            yield self.finish_batch(self.transfer_batch_to_device(batch, device, 0))
