"""Images that are read once."""

import logging
import pickle
import resource
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from conftest import PROJECT, SIZE, image, make_comic_root
from recorder import Recorder, trainer
from torch.utils.data import default_collate

from image_translation.cli.errors import UserError
from image_translation.data import PairedImageDataModule
from image_translation.data.dataset import DiskCache, MemoryCache, PairedImageDataset, choose_cache

PAIR = 2 * 3 * SIZE**2  # bytes


def datamodule(root: Path, **options: Any) -> PairedImageDataModule:
    defaults = {"input_folder": "face", "target_folder": "comics", "image_size": SIZE, "num_workers": 0,
                "batch_size": 4}  # fmt: skip
    data = PairedImageDataModule("comic", str(root), **(defaults | options))
    data.setup()
    return data


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


def test_the_same_training_with_every_image_read_once(tmp_path: Path, reads: Counter[tuple[int, int]]) -> None:
    root = make_comic_root(tmp_path / "pairs", {"train": 10, "val": 3, "test": 1})
    batches, counts = {}, {}
    for cache in ("none", "device", "ram", "disk", "disk again"):
        reads.clear()
        pl.seed_everything(0, verbose=False)
        model = Recorder()
        data = datamodule(root, cache=cache.split()[0], cache_folder=str(tmp_path / "cache"))
        trainer(3).fit(model, datamodule=data)
        batches[cache], counts[cache] = model.batches, dict(reads)
    for found in batches.values():
        assert len(found) == 9  # 4 + 4 + 2 images
        for batch, expected in zip(found, batches["none"], strict=True):
            assert batch["name"] == expected["name"]
            assert all(torch.equal(batch[half], expected[half]) for half in ("input", "target"))
    pairs = [(10, i) for i in range(10)] + [(3, i) for i in range(3)]
    assert counts["none"] == dict.fromkeys(pairs, 3)
    assert counts["device"] == counts["ram"] == counts["disk"] == dict.fromkeys(pairs, 1)
    assert counts["disk again"] == {}


def test_a_batch_is_that_of_the_dataset(comic_root: Path, tmp_path: Path, reads: Counter[tuple[int, int]]) -> None:
    dataset = datamodule(comic_root).datasets["train"]
    memory, disk = MemoryCache(dataset, torch.device("cpu")), DiskCache(dataset, "", "train", tmp_path)
    reads.clear()
    for indices in ([4, 1, 4], [1, 0]):
        expected = default_collate([dataset[i] for i in indices])
        for cache in (memory, disk, pickle.loads(pickle.dumps(disk))):  # the last as in a worker process
            batch = cache.__getitems__(indices)
            assert len(cache) == 6
            assert batch.keys() == expected.keys()
            assert batch["name"] == expected["name"]
            for half in ("input", "target"):
                assert batch[half].dtype == torch.uint8
                assert torch.equal(batch[half], expected[half])
                assert batch[half].is_contiguous(memory_format=torch.channels_last)
    assert reads[6, 4] == 1 + 2  # once for the cache
    assert reads[6, 5] == 0  # nobody asked for it
    assert dataset.nbytes == 6 * PAIR == memory.stored.nbytes
    assert disk.path.stat().st_size == 6 * PAIR
    assert len(pickle.dumps(disk)) < 10_000


def test_derived_images_take_half(comic_root: Path) -> None:
    options = {"layout": "derived", "input_folder": None, "target_folder": "face", "derive": lambda x: x}
    assert datamodule(comic_root, **options).datasets["train"].nbytes == 6 * PAIR // 2


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
    monkeypatch.setattr("image_translation.data.dataset.free_memory", lambda where: free[where.type])
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


def test_a_file_of_another_size_is_made_anew(comic_root: Path, tmp_path: Path) -> None:
    first = disk_cache(comic_root, tmp_path / "cache")
    expected = first.__getitems__([0, 5])
    first.path.write_bytes(first.path.read_bytes()[:-1])
    again = disk_cache(comic_root, tmp_path / "cache").__getitems__([0, 5])
    assert all(torch.equal(again[half], expected[half]) for half in ("input", "target"))


def test_a_full_disk_is_named_and_nothing_stays(comic_root: Path, tmp_path: Path) -> None:
    data = datamodule(comic_root)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5 * PAIR, limits[1]))  # of 6
    try:
        with pytest.raises(UserError, match=r"data\.cache=disk: .*File too large.*data\.cache_folder="):
            DiskCache(data.datasets["train"], "", "train", tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


IMPORTS = f"""
import logging, re, resource, sys
logging.basicConfig(level=logging.INFO)
sys.path[:0] = {[str(PROJECT), str(Path(__file__).parent), str(PROJECT / "tests")]!r}
from pathlib import Path
import torch
from test_cache import DiskCache, MemoryCache, datamodule, disk_cache
"""


def test_processes_write_a_file_once(comic_root: Path, tmp_path: Path) -> None:
    code = f"""{IMPORTS}
print(int(disk_cache(Path({str(comic_root)!r}), Path({str(tmp_path / "cache")!r})).__getitems__([0, 1])["input"].sum()))
"""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([sys.executable, "-c", code], **pipes) for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0] != ""
    assert sum("Writing the decoded images" in errors for _, errors in outputs) == 1


def test_a_set_larger_than_the_memory(tmp_path: Path) -> None:
    """In a process that may have 62 MiB more: 3,000 pairs, 70 MiB, pass through a file and not through its memory."""
    root = make_comic_root(tmp_path / "pairs", {"train": 4, "val": 1, "test": 1}) / "train"
    rows = [f"face/train{i % 4}.png,comics/train{i % 4}.png,{i:04}" for i in range(3000)]
    (root / "pairs.csv").write_text("\n".join(["input,target,name", *rows]))
    code = f"""{IMPORTS}
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
    data, testing = datamodule(comic_root, cache="device"), trainer()
    testing.test(Recorder(), datamodule=data, verbose=False)
    assert isinstance(testing.test_dataloaders.dataset, PairedImageDataset)


@pytest.mark.gpu
def test_images_stay_on_the_gpu(comic_root: Path) -> None:
    fitting = trainer(accelerator="gpu")
    fitting.fit(Recorder(), datamodule=datamodule(comic_root))
    dataset = fitting.train_dataloader.dataset
    assert isinstance(dataset, MemoryCache)
    assert dataset.held == set(range(6))
    on_gpu, on_cpu = (
        dataset.__getitems__([3, 0]),
        MemoryCache(dataset.dataset, torch.device("cpu")).__getitems__([3, 0]),
    )
    for half in ("input", "target"):
        assert on_gpu[half].is_cuda
        assert torch.equal(on_cpu[half], on_gpu[half].cpu())
