"""Images that are read once."""

import logging
import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from conftest import PROJECT, SIZE, image, make_comic_root
from torch.utils.data import default_collate

from image_translation.cli.errors import UserError
from image_translation.data import PairedImageDataModule
from image_translation.data.cache import DiskCache, MemoryCache, bytes_of
from image_translation.data.dataset import PairedImageDataset
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


def test_the_same_training_with_every_image_read_once(tmp_path: Path, reads: Counter[tuple[int, int]]) -> None:
    root = make_comic_root(tmp_path / "pairs", {"train": 10, "val": 3, "test": 1})
    weights, counts = {}, {}
    for cache in ("none", "device", "ram", "disk", "disk again"):
        reads.clear()
        trainer, model = train(datamodule(root, cache=cache.split()[0], cache_folder=str(tmp_path / "cache")))
        assert trainer.global_step == 9  # 4 + 4 + 2 images
        weights[cache] = model.state_dict()
        counts[cache] = {pair: count for pair, count in reads.items() if count}
    for cache in weights:
        for name, value in weights["none"].items():
            assert torch.equal(value, weights[cache][name]), (cache, name)
    pairs = [(10, i) for i in range(10)] + [(3, i) for i in range(3)]
    assert all(counts["none"][pair] >= 3 for pair in pairs)
    assert counts["device"] == counts["ram"] == counts["disk"] == dict.fromkeys(pairs, 1)
    assert counts["disk again"] == {}


def test_a_batch_is_that_of_the_dataset(comic_root: Path, reads: Counter[tuple[int, int]]) -> None:
    data = datamodule(comic_root)
    data.setup()
    pairs = data.datasets["train"]
    cache = MemoryCache(pairs, torch.device("cpu"))
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
    assert bytes_of(pairs) == 6 * PAIR == sum(images.nbytes for images in cache.halves.values())


def test_derived_images_take_half(tmp_path: Path) -> None:
    root = make_comic_root(tmp_path / "pairs")
    data = PairedImageDataModule("coloring", str(root), layout="derived", target_folder="face", derive=lambda x: x,
                                 image_size=SIZE)  # fmt: skip
    data.setup()
    assert bytes_of(data.datasets["train"]) == 6 * PAIR // 2


@pytest.mark.parametrize(("cache", "device", "host", "disk", "expected"), [
    ("auto", 32, 32, 80, "device"), ("auto", 31, 32, 80, "ram"), ("auto", 31, 31, 80, "disk"),
    ("auto", 31, 31, 79, "none"), ("auto", None, None, 80, "disk"), ("auto", None, None, 79, "none"),
    ("device", 8, 0, 0, "device"), ("ram", 0, 8, 0, "ram"), ("device", None, 0, 0, "device"),
    ("disk", 0, 0, 0, "disk"), ("none", 99, 99, 999, "none"),
])  # fmt: skip
def test_auto_takes_the_first_place_with_room(
    cache: str, device: int | None, host: int | None, disk: int, expected: str, comic_root: Path,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """In pairs: a quarter of the memory, a tenth of the disk."""
    data = datamodule(comic_root, cache=cache, cache_folder=str(comic_root / "cache"))
    data.setup()  # 6 + 2 pairs
    data.trainer = SimpleNamespace(num_devices=1)
    free = {"cuda": device and device * PAIR, "cpu": host and host * PAIR}
    monkeypatch.setattr("image_translation.data.datamodule.free_memory", lambda where: free[where.type])
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=disk * PAIR))
    with caplog.at_level(logging.INFO):
        assert data._choose_place(torch.device("cuda")) == expected
    assert ("are read anew in every epoch" in caplog.text) == (cache == "auto" and expected == "none")
    assert data.cached_bytes(torch.device("cuda")) == (8 * PAIR if expected == "device" else 0)


@pytest.mark.parametrize("cache", ["device", "ram"])
def test_a_memory_that_is_too_small_is_named(cache: str, comic_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("image_translation.data.datamodule.free_memory", lambda _: 8 * PAIR - 1)
    with pytest.raises(UserError, match=rf"data.cache={cache}: the images of train and val take .*data.cache=disk"):
        train(datamodule(comic_root, cache=cache))


def disk_cache(root: Path, folder: Path, **options: Any) -> DiskCache:
    data = datamodule(root, **options)
    data.setup()
    return DiskCache(data.datasets["train"], data.description["fingerprint"], "train", folder)


def test_a_file_on_disk_is_of_one_content_and_geometry(comic_root: Path, tmp_path: Path) -> None:
    first = disk_cache(comic_root, tmp_path / "cache")
    assert disk_cache(comic_root, tmp_path / "cache").path == first.path
    others = [
        disk_cache(comic_root, tmp_path / "cache", **options).path
        for options in ({"image_size": 32}, {"resize": "stretch"}, {"direction": "BtoA"}, {"background": "red"})
    ]
    image(99).save(comic_root / "train" / "face" / "train0.png")
    changed = disk_cache(comic_root, tmp_path / "cache")
    assert len({first.path, changed.path, *others}) == 6
    assert not torch.equal(first.images([0])["input"], changed.images([0])["input"])
    assert sorted(path.suffix for path in (tmp_path / "cache").iterdir()) == [".lock"] * 6 + [".npy"] * 6


def test_a_damaged_file_on_disk_is_made_anew(comic_root: Path, tmp_path: Path) -> None:
    first = disk_cache(comic_root, tmp_path / "cache")
    expected = first.images([0, 5])
    first.path.write_bytes(first.path.read_bytes()[:-1])
    again = disk_cache(comic_root, tmp_path / "cache").images([0, 5])
    assert all(torch.equal(again[half], expected[half]) for half in expected)


@pytest.mark.parametrize("other", ["type", "archive"])
def test_a_file_of_another_kind_is_made_anew(other: str, comic_root: Path, tmp_path: Path) -> None:
    first = disk_cache(comic_root, tmp_path / "cache")
    expected = first.images([0, 5])
    array = np.zeros(np.load(first.path).shape, np.float32)
    with first.path.open("wb") as file:
        np.save(file, array) if other == "type" else np.savez(file, array)
    again = disk_cache(comic_root, tmp_path / "cache").images([0, 5])
    assert all(torch.equal(again[half], expected[half]) for half in expected)


def test_a_full_disk_is_named_and_nothing_stays(
    comic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=6 * PAIR - 1))
    with pytest.raises(UserError, match=r"data\.cache=disk: the images of train take .*data\.cache_folder="):
        disk_cache(comic_root, tmp_path / "cache")
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_workers_that_are_not_forked_map_the_file_themselves(comic_root: Path, tmp_path: Path) -> None:
    cache = disk_cache(comic_root, tmp_path / "cache")
    sent = pickle.dumps(cache)
    assert len(sent) < 10_000 < cache.path.stat().st_size
    assert torch.equal(pickle.loads(sent).images([3])["target"], cache.images([3])["target"])


def test_processes_write_a_file_once(comic_root: Path, tmp_path: Path) -> None:
    code = f"""
import logging, sys
logging.basicConfig(level=logging.INFO)
sys.path[:0] = {[str(PROJECT), str(Path(__file__).parent), str(PROJECT / "tests")]!r}
from pathlib import Path
from test_cache import disk_cache
print(int(disk_cache(Path({str(comic_root)!r}), Path({str(tmp_path / "cache")!r})).images([0, 1])["input"].sum()))
"""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([sys.executable, "-c", code], **pipes) for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0] != ""
    assert sum("Writing the decoded images" in errors for _, errors in outputs) == 1


def test_a_set_larger_than_the_memory(tmp_path: Path) -> None:
    """In a process that may have 48 MiB more: 3,000 pairs, 70 MiB, pass through a file and not through its memory."""
    root = make_comic_root(tmp_path / "pairs", {"train": 4, "val": 1, "test": 1})
    rows = [f"face/train{i % 4}.png,comics/train{i % 4}.png,train,{i:04}" for i in range(3000)]
    rows += ["face/train0.png,comics/train0.png,val,val", "face/train0.png,comics/train0.png,test,test"]
    (root / "train" / "pairs.csv").write_text("\n".join(["input,target,split,name", *rows]))
    code = f"""
import re, resource, sys
sys.path[:0] = {[str(PROJECT), str(Path(__file__).parent), str(PROJECT / "tests")]!r}
from pathlib import Path
import numpy, torch
from test_cache import datamodule
from image_translation.data.cache import DiskCache, MemoryCache, bytes_of
data = datamodule(Path({str(root / "train")!r}), layout="table", table="pairs.csv", image_size={SIZE})
data.setup()
pairs = data.datasets["train"]
used = int(re.search("VmData:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + 48 * 2**20,) * 2)
cache = DiskCache(pairs, "x", "train", Path({str(tmp_path / "cache")!r}))
sums = [int(cache.images(list(range(i, i + 100)))["input"].sum()) for i in range(0, 3000, 100)]
assert len(set(sums)) == 1, sums
print("read", bytes_of(pairs))
try:
    MemoryCache(pairs, torch.device("cpu"))
except RuntimeError:
    print("not in memory")
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert result.stdout.splitlines() == [f"read {3000 * PAIR}", "not in memory"], result.stderr


def test_testing_keeps_nothing(comic_root: Path) -> None:
    data = datamodule(comic_root, cache="device")
    trainer, model = train(data)
    trainer.test(model, datamodule=data, verbose=False)
    assert isinstance(trainer.test_dataloaders.dataset, PairedImageDataset)


def test_an_unknown_cache_is_refused(comic_root: Path) -> None:
    with pytest.raises(UserError, match=r"data.cache.*device, ram, disk, none; got 'gpu'"):
        datamodule(comic_root, cache="gpu")


@pytest.mark.gpu
def test_images_stay_on_the_gpu(comic_root: Path) -> None:
    trainer, _ = train(datamodule(comic_root), accelerator="gpu")
    dataset = trainer.train_dataloader.dataset
    assert isinstance(dataset, MemoryCache)
    assert dataset.held == set(range(6))
    assert {images.device.type for images in dataset.halves.values()} == {"cuda"}
    on_cpu = MemoryCache(dataset.pairs, torch.device("cpu"))
    for half, images in on_cpu.__getitems__([3, 0]).items():
        if half != "name":
            assert torch.equal(images, dataset.halves[half][[3, 0]].cpu())
