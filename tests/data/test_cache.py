"""Images that are read once."""

import logging
import pickle
import resource
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import PROJECT, SIZE, image, make_comic_root
from helpers.training import fit, make_trainer
from recorder import Recorder, datamodule
from torch.utils.data import default_collate

from image_translation.cli.errors import UserError
from image_translation.data.caching import DiskCache, MemoryCache, choose_cache
from image_translation.data.dataset import PairedImageDataset

PAIR = 2 * 3 * SIZE**2  # bytes
Reads = Counter[tuple[int, int]]


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one["name"] == other["name"] and all(torch.equal(one[half], other[half]) for half in ("input", "target"))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    """How often each pair of each dataset was read."""
    counts, read = Reads(), PairedImageDataset.__getitem__

    def counted(self: PairedImageDataset, index: int) -> dict[str, Any]:
        counts[len(self), index] += 1
        return read(self, index)

    monkeypatch.setattr(PairedImageDataset, "__getitem__", counted)
    return counts


def test_the_same_training_with_every_image_read_once(tmp_path: Path, reads: Reads) -> None:
    root = make_comic_root(tmp_path / "pairs", {"train": 10, "val": 3, "test": 1})
    batches, counts = {}, {}
    for cache in ("none", "device", "ram", "disk", "disk again"):
        reads.clear()
        model = Recorder()
        data = datamodule(root, batch_size=4, cache=cache.split()[0], cache_folder=str(tmp_path / "cache"))
        fit(model, data, max_epochs=3)
        batches[cache], counts[cache] = model.batches, dict(reads)
    for found in batches.values():
        assert len(found) == 9  # 4 + 4 + 2 images
        assert all(map(same, found, batches["none"]))
    pairs = [(10, i) for i in range(10)] + [(3, i) for i in range(3)]
    assert counts["none"] == dict.fromkeys(pairs, 3)
    assert counts["device"] == counts["ram"] == counts["disk"] == dict.fromkeys(pairs, 1)
    assert counts["disk again"] == {}


def test_a_batch_is_that_of_the_dataset(comic_root: Path, tmp_path: Path, reads: Reads) -> None:
    dataset = datamodule(comic_root).datasets["train"]
    memory, disk = MemoryCache(dataset, torch.device("cpu")), DiskCache(dataset, "", "train", tmp_path)
    reads.clear()
    for indices in ([4, 1, 4], [1, 0]):
        expected = default_collate([dataset[i] for i in indices])
        for cache in (memory, disk, pickle.loads(pickle.dumps(disk))):  # the last as in a worker process
            batch = cache.__getitems__(indices)
            assert batch.keys() == expected.keys()
            assert same(batch, expected)
            for half in (batch["input"], batch["target"]):
                assert half.dtype == torch.uint8
                assert half.is_contiguous(memory_format=torch.channels_last)
    assert reads[6, 4] == 1 + 2  # once for the cache
    assert reads[6, 5] == 0  # nobody asked for it
    assert len(memory) == len(disk) == 6
    assert dataset.nbytes == 6 * PAIR == sum(half.nbytes for half in memory.stored) == disk.path.stat().st_size
    assert len(pickle.dumps(disk)) < 10_000


@pytest.mark.parametrize(("device", "host", "disk", "expected"), [
    (32, 32, 80, "device"), (31, 32, 80, "ram"), (31, 31, 80, "disk"), (31, 31, 79, "none"), (None, None, 80, "disk"),
    (None, None, 79, "none"),
])  # fmt: skip
@pytest.mark.parametrize("processes", [1, 2])
def test_auto_takes_the_first_place_with_room(
    processes: int, device: int | None, host: int | None, disk: int, expected: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """8 pairs in a quarter of the memory, which processes share, or a tenth of the disk."""
    free = {"cuda": device and device * PAIR, "cpu": host and host * PAIR * processes}
    monkeypatch.setattr("image_translation.data.caching.free_memory", lambda where: free[where.type])
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=disk * PAIR))
    with caplog.at_level(logging.INFO):
        assert choose_cache(8 * PAIR, torch.device("cuda"), processes, tmp_path / "new") == expected
    assert f"data.cache={expected}." in caplog.text


def disk_cache(root: Path, folder: Path, **options: Any) -> DiskCache:
    data = datamodule(root, **options)
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
    assert not torch.equal(first.__getitems__([0])["input"], changed.__getitems__([0])["input"])
    assert sorted(path.suffix for path in (tmp_path / "cache").iterdir()) == [".bin"] * 6 + [".lock"] * 6
    expected = changed.__getitems__([0, 5])
    changed.path.write_bytes(changed.path.read_bytes()[:-1])  # one of another size is made anew
    assert same(disk_cache(comic_root, tmp_path / "cache").__getitems__([0, 5]), expected)


def test_a_full_disk_is_named_and_nothing_stays(comic_root: Path, tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5 * PAIR, limits[1]))  # of 6
    try:
        with pytest.raises(UserError, match=r"data\.cache=disk: .*File too large.*data\.cache_folder="):
            disk_cache(comic_root, tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_of_several_that_want_a_file_one_writes_it(
    comic_root: Path, tmp_path: Path, reads: Reads, caplog: pytest.LogCaptureFixture
) -> None:
    """Threads, which a file lock keeps apart as it does processes."""
    caplog.set_level(logging.INFO)
    with ThreadPoolExecutor(4) as pool:
        caches = [*pool.map(lambda _: disk_cache(comic_root, tmp_path / "cache"), range(4))]
    assert all(same(cache.__getitems__([0, 5]), caches[0].__getitems__([0, 5])) for cache in caches)
    assert caplog.text.count("Writing the decoded images") == 1
    assert reads == Reads({(6, index): 1 for index in range(6)})


def test_a_set_larger_than_the_memory(tmp_path: Path) -> None:
    """In a process that may have 62 MiB more: 3,000 pairs, 70 MiB, pass through a file and not through its memory."""
    root = make_comic_root(tmp_path / "pairs", {"train": 4, "val": 1, "test": 1}) / "train"
    rows = [f"face/train{i % 4}.png,comics/train{i % 4}.png,{i:04}" for i in range(3000)]
    (root / "pairs.csv").write_text("\n".join(["input,target,name", *rows]))
    code = f"""
import re, resource, sys
sys.path[:0] = {[str(PROJECT), str(Path(__file__).parent), str(PROJECT / "tests")]!r}
from pathlib import Path
import torch
from test_cache import DiskCache, MemoryCache, datamodule
data = datamodule(Path({str(root)!r}), layout="table", table="pairs.csv", val_fraction=0, test_fraction=0)
pairs = data.datasets["train"]
used = int(re.search("VmData:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + 62 * 2**20,) * 2)
cache = DiskCache(pairs, "x", "train", Path({str(tmp_path / "cache")!r}))
sums = [int(cache.__getitems__(list(range(i, i + 100)))["input"].sum()) for i in range(0, 3000, 100)]
assert len(set(sums)) == 1, sums
print("read", pairs.nbytes)
try:
    MemoryCache(pairs, torch.device("cpu"))
except RuntimeError:
    print("not in memory")
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert result.stdout.splitlines() == [f"read {3000 * PAIR}", "not in memory"], result.stderr


def test_testing_keeps_nothing(comic_root: Path) -> None:
    trainer = make_trainer()
    trainer.test(Recorder(), datamodule=datamodule(comic_root, cache="device"), verbose=False)
    assert isinstance(trainer.test_dataloaders.dataset, PairedImageDataset)


@pytest.mark.gpu
def test_images_stay_on_the_gpu(comic_root: Path) -> None:
    trainer = fit(Recorder(), datamodule(comic_root, batch_size=4), accelerator="gpu", devices=1)
    dataset = trainer.train_dataloader.dataset
    assert isinstance(dataset, MemoryCache)
    assert dataset.held == set(range(6))
    on_gpu = dataset.__getitems__([3, 0])
    on_cpu = MemoryCache(dataset.dataset, torch.device("cpu")).__getitems__([3, 0])
    for half in ("input", "target"):
        assert on_gpu[half].is_cuda
        assert torch.equal(on_cpu[half], on_gpu[half].cpu())
