import logging
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from conftest import SIZE, comic_of, make_comic_root
from helpers.training import fit, make_trainer
from PIL import Image
from recorder import Recorder, datamodule
from torchvision.transforms.v2 import Grayscale

from image_translation.cli.errors import UserError
from image_translation.data import PairedImageDataModule
from image_translation.data.sampler import OutlastingLoader, outlast_signals
from image_translation.data.transforms import to_stored


def first_batch(module: PairedImageDataModule, split: str) -> dict[str, Any]:
    return module.finish_batch(next(iter(module.dataloader(split))))


def test_batch_contract(comic_root: Path) -> None:
    module = datamodule(comic_root, batch_size=3)
    raw = next(iter(module.train_dataloader()))
    assert raw["input"].dtype == raw["target"].dtype == torch.uint8
    batch = module.on_after_batch_transfer(raw, 0)
    assert set(batch) == {"input", "target", "name"}
    for half in (batch["input"], batch["target"]):
        assert half.dtype == torch.float32
        assert half.shape == (3, 3, SIZE, SIZE)
        assert -1 <= half.min() < half.max() <= 1
    for name, source, target in zip(batch["name"], batch["input"], batch["target"], strict=True):
        on_disk = Image.open(comic_root / "train" / "face" / f"{name}.png")
        assert np.array_equal(to_stored(source).permute(1, 2, 0), on_disk)
        assert np.array_equal(to_stored(target).permute(1, 2, 0), comic_of(on_disk))


def test_only_training_images_are_jittered(comic_root: Path) -> None:
    module, model = datamodule(comic_root, batch_size=6), Recorder()
    fit(model, module)
    plain = dict(zip(*(first_batch(module, "train")[key] for key in ("name", "input")), strict=True))
    make_trainer().test(model, datamodule=module, verbose=False)
    batch, tested = model.batches
    for name, source, target in zip(batch["name"], batch["input"], batch["target"], strict=True):
        assert not torch.allclose(source, plain[name])
        # The target is still what belongs to the moved input.
        assert torch.allclose(target, -source.flip(0), atol=2.1 / 127.5)  # rounded to 8 bits each
    assert torch.equal(tested["input"], first_batch(module, "test")["input"])


@pytest.mark.parametrize("batches", [1, 3, 5, 6, 9])
def test_a_resumed_training_sees_what_an_uninterrupted_one_does(batches: int, tmp_path: Path) -> None:
    root, last = make_comic_root(tmp_path / "pairs", {"train": 9, "val": 1, "test": 1}), tmp_path / "last.ckpt"

    def train(seed: int, **options: Any) -> list[dict[str, Any]]:
        model = Recorder()
        fit(model, datamodule(root, batch_size=2), seed, max_epochs=3, **options)
        return model.batches

    class Save(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, model: Any, *_: Any) -> None:
            torch.rand(5)  # what a model draws has no influence
            if len(model.batches) == batches:
                trainer.save_checkpoint(last)

    expected = train(3, callbacks=[Save()])
    assert len(expected) == 15
    resumed = train(3, ckpt_path=last)
    assert [batch["name"] for batch in resumed] == [batch["name"] for batch in expected[batches:]]
    assert all(torch.equal(a["input"], b["input"]) for a, b in zip(resumed, expected[batches:], strict=True))
    assert expected[0]["name"] != expected[5]["name"]
    assert [batch["name"] for batch in train(4)] != [batch["name"] for batch in expected]


def test_the_fixed_images_are_always_the_same(comic_root: Path) -> None:
    module = datamodule(comic_root)
    first, again = (list(module.fixed_batches("test", 2, torch.device("cpu"))) for _ in range(2))
    assert [batch["name"] for batch in first] == [["test0"], ["test2"]]
    assert all(torch.equal(one["input"], other["input"]) for one, other in zip(first, again, strict=True))
    assert [batch["name"] for batch in module.fixed_batches("val", 9, torch.device("cpu"))] == [["val0"], ["val1"]]


def test_without_a_root_the_folder_data_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_comic_root(tmp_path / "data" / "comic")
    description = datamodule(None).description
    assert description["counts"] == {"train": 6, "val": 2, "test": 4}
    assert description["sample"] is False
    with pytest.raises(UserError, match=r"data\.root is not set, and there is no folder data/maps"):
        datamodule(None, task="maps")


@pytest.mark.parametrize(("task", "options"), [
    ("comic", {}), ("monet", {"input_folder": "photo", "target_folder": "monet"}),
    ("coloring", {"layout": "derived", "target_folder": None, "derive": Grayscale(3)}),
])  # fmt: skip
def test_the_sample_is_taken_and_said_so(
    task: str, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    made = "" if task == "coloring" else f"; their {task} targets are made by image filters"
    monkeypatch.chdir(tmp_path)
    module = datamodule(None, task=task, **options)
    assert module.description["sample"] is True
    assert f"using the built-in sample, a few photos{made}." in caplog.text
    assert not list(tmp_path.iterdir())
    photos = [{pair.name.rsplit("_", 1)[0] for pair in data.pairs} for data in module.datasets.values()]
    assert all(photos)
    assert sum(map(len, photos)) == len(set().union(*photos))  # no photo in two splits
    if made:  # a filter has drawn something else, at the same place
        batch = first_batch(module, "test")
        assert (batch["input"] - batch["target"]).abs().mean() > 0.05
        gray, drawn = (batch[half].mean(1).flatten().numpy() for half in ("input", "target"))
        assert np.corrcoef(gray, drawn)[0, 1] > 0.6


def test_folders_that_are_called_by_a_number() -> None:
    """Hydra hands over data.root=2024 as a number."""
    data = PairedImageDataModule("comic", 2024, "table", 1, 2, 7, cache_folder=3)  # type: ignore[arg-type]
    folders = (data.root, data.source.input_folder, data.source.target_folder, data.source.table, data.cache_folder)
    assert folders == ("2024", "1", "2", "7", Path("3"))


@pytest.mark.parametrize(("options", "message"), [
    ({"batch_size": "many"}, "^batch_size must be a whole number, got 'many'"),
    ({"eval_batch_size": -1}, "^eval_batch_size must be at least 1, got -1"),
    ({"image_size": 8}, "^image_size must be at least 16, got 8"),
    ({"resize": "fit"}, "^resize must be one of crop, stretch, pad, random_crop; got 'fit'"),
    ({"hflip": "no"}, "^hflip must be one of True, False; got 'no'"),
    ({"cache": "gpu"}, "^cache must be one of auto, device, ram, disk, none; got 'gpu'"),
    ({"layout": "folder"}, "^layout must be one of folders, aligned, derived, table, hub; got 'folder'"),
    ({"background": "whyte"}, "unknown color specifier: 'whyte'"),
    ({"direction": "AtoC"}, "^direction must be one of AtoB, BtoA; got 'AtoC'"),
    ({"derive": Grayscale(3)}, "^derive goes with layout=derived"),
    ({"target_folder": None}, "^input_folder and target_folder must be set"),
    ({"layout": "table"}, "^table must be set"),
])  # fmt: skip
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PairedImageDataModule(task="comic", **({"input_folder": "a", "target_folder": "b"} | options))


def test_images_in_two_splits_are_named(comic_root: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert "leaks" not in datamodule(comic_root).description
    source = comic_root / "train" / "face" / "train2.png"
    Image.open(source).save(comic_root / "test" / "face" / "test1.png", compress_level=1)  # other bytes
    for name in ("train/face/train3", "test/face/test0"):
        Image.new("RGB", (SIZE, SIZE)).save(comic_root / f"{name}.png")  # one color says nothing: it may be a mask
    with caplog.at_level(logging.WARNING):
        assert datamodule(comic_root).description["leaks"] == 1
    assert "1 of the inputs are in more than one split; scores on val or test will be too good." in caplog.text
    assert "train/train2, test/test1" in caplog.text


def begin_slowly(worker: int) -> None:
    time.sleep(1)
    outlast_signals(worker)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_worker_that_is_signaled_while_it_starts_reads_on(sent: signal.Signals) -> None:
    loader = OutlastingLoader(range(8), batch_size=2, num_workers=1, worker_init_fn=begin_slowly)  # type: ignore[arg-type]
    before = multiprocessing.active_children()
    batches = iter(loader)
    (worker,) = set(multiprocessing.active_children()).difference(before)
    os.kill(worker.pid or 0, sent)
    assert [batch.tolist() for batch in batches] == [[0, 1], [2, 3], [4, 5], [6, 7]]
