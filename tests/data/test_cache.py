"""Pictures that are read once."""

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from conftest import SIZE, make_comic_root
from torch.utils.data import default_collate

from image_translation.data import PairedImageDataModule
from image_translation.data.cache import DeviceCache, bytes_of
from image_translation.data.dataset import PairedImageDataset
from image_translation.errors import UserError
from image_translation.models import UNetAutoencoder

PAIR = 2 * 3 * SIZE**2  # bytes


def datamodule(root: Path, **options: Any) -> PairedImageDataModule:
    defaults = {"input_folder": "face", "target_folder": "comics", "image_size": SIZE, "num_workers": 0,
                "batch_size": 4}  # fmt: skip
    return PairedImageDataModule("comic", str(root), **(defaults | options))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[int, int]]:
    """How often each pair of each dataset was read."""
    counts: Counter[tuple[int, int]] = Counter()
    read = PairedImageDataset.__getitem__

    def counted(self: PairedImageDataset, index: int) -> dict[str, Any]:
        counts[len(self), index] += 1
        return read(self, index)

    monkeypatch.setattr(PairedImageDataset, "__getitem__", counted)
    return counts


def train(data: PairedImageDataModule, accelerator: str = "cpu") -> tuple[pl.Trainer, UNetAutoencoder]:
    pl.seed_everything(0, verbose=False)
    model = UNetAutoencoder(image_size=SIZE, base_channels=4)
    trainer = pl.Trainer(max_epochs=3, enable_progress_bar=False, enable_model_summary=False, logger=False,
                         enable_checkpointing=False, accelerator=accelerator, devices=1)  # fmt: skip
    trainer.fit(model, datamodule=data)
    return trainer, model


def test_the_same_training_with_every_picture_read_once(tmp_path: Path, reads: Counter[tuple[int, int]]) -> None:
    root = make_comic_root(tmp_path / "pairs", {"train": 10, "val": 3, "test": 1})
    weights, counts = [], []
    for cache in ("none", "device"):
        reads.clear()
        trainer, model = train(datamodule(root, cache=cache))
        assert trainer.global_step == 9  # 4 + 4 + 2 pictures
        weights.append(model.state_dict())
        counts.append(dict(reads))
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name
    pairs = [(10, i) for i in range(10)] + [(3, i) for i in range(3)]
    assert counts[1] == dict.fromkeys(pairs, 1)
    assert all(counts[0][pair] >= 3 for pair in pairs)


def test_a_batch_is_that_of_the_dataset(comic_root: Path, reads: Counter[tuple[int, int]]) -> None:
    data = datamodule(comic_root)
    data.setup()
    pairs = data.datasets["train"]
    cache = DeviceCache(pairs, torch.device("cpu"))
    assert len(cache) == 6
    for indices in ([4, 1, 4], [1, 0]):
        batch, expected = cache.__getitems__(indices), default_collate([pairs[i] for i in indices])
        assert batch.keys() == expected.keys()
        assert batch["name"] == expected["name"]
        for half in ("input", "target"):
            assert batch[half].dtype == torch.uint8
            assert torch.equal(batch[half], expected[half])
    assert reads[6, 4] == 1 + 2  # once for the cache
    assert reads[6, 5] == 0  # nobody asked for it
    assert bytes_of(pairs) == 6 * PAIR == sum(pictures.nbytes for pictures in cache.pictures.values())


def test_derived_pictures_take_half(tmp_path: Path) -> None:
    root = make_comic_root(tmp_path / "pairs")
    data = PairedImageDataModule("coloring", str(root), layout="derived", target_folder="face", derive=lambda x: x,
                                 image_size=SIZE)  # fmt: skip
    data.setup()
    assert bytes_of(data.datasets["train"]) == 6 * PAIR // 2


@pytest.mark.parametrize(("cache", "free", "kept"), [
    ("auto", 8 * PAIR * 4, True), ("auto", 8 * PAIR * 4 - 1, False), ("auto", None, False),
    ("device", 8 * PAIR, True), ("device", None, True), ("none", 10**12, False),
])  # fmt: skip
def test_auto_takes_up_to_a_quarter_of_what_is_free(
    cache: str, free: int | None, kept: bool, comic_root: Path, monkeypatch: pytest.MonkeyPatch,
    reads: Counter[tuple[int, int]], caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr("image_translation.data.datamodule.free_memory", lambda _: free)
    with caplog.at_level(logging.INFO):
        train(datamodule(comic_root, cache=cache))
    assert {reads[6, i] for i in range(6)} == {1 if kept else 3}
    assert ("read anew in every epoch: those of train" in caplog.text) == (cache == "auto" and not kept)


def test_a_device_that_is_too_small_is_named(comic_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("image_translation.data.datamodule.free_memory", lambda _: 8 * PAIR - 1)
    with pytest.raises(UserError, match=r"data.cache=device: the pictures of train and val take .*Use data.cache=none"):
        train(datamodule(comic_root, cache="device"))


def test_testing_keeps_nothing(comic_root: Path) -> None:
    data = datamodule(comic_root, cache="device")
    trainer, model = train(data)
    trainer.test(model, datamodule=data, verbose=False)
    assert isinstance(trainer.test_dataloaders.dataset, PairedImageDataset)


def test_an_unknown_cache_is_refused(comic_root: Path) -> None:
    with pytest.raises(UserError, match=r"data.cache.*device.*got 'disk'"):
        datamodule(comic_root, cache="disk")


@pytest.mark.gpu
def test_pictures_stay_on_the_gpu(comic_root: Path) -> None:
    trainer, _ = train(datamodule(comic_root), accelerator="gpu")
    dataset = trainer.train_dataloader.dataset
    assert isinstance(dataset, DeviceCache)
    assert dataset.held == set(range(6))
    assert {pictures.device.type for pictures in dataset.pictures.values()} == {"cuda"}
    on_cpu = DeviceCache(dataset.pairs, torch.device("cpu"))
    for half, pictures in on_cpu.__getitems__([3, 0]).items():
        if half != "name":
            assert torch.equal(pictures, dataset.pictures[half][[3, 0]].cpu())
