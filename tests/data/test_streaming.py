"""``data.streaming=true``: every pair once an epoch, over processes too, and a resumed training is exact."""

import logging
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.shards import EACH, rows, serving, write_parquet, write_tars
from helpers.training import fit, make_data, make_model

from image_translation.callbacks import LastCheckpoint
from image_translation.cli.errors import UserError
from image_translation.data import PairedImageDataModule, streaming
from image_translation.data.sources.hub import HubPairs, hold_out

TARS = {"input_folder": "face.png", "target_folder": "comics.png"}
TRAIN = [name for split, _, content in rows() for name, _, _ in content if split == "train"]


@pytest.fixture(autouse=True)
def _small_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "DOWNLOADED_DATASETS_PATH", tmp_path / "downloads")
    monkeypatch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0)
    monkeypatch.setattr(streaming, "BLOCK", 7)


@pytest.fixture(params=["parquet", "tars"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> HubPairs:
    return found(tmp_path / "set", request.param)


def found(root: Path, form: str) -> HubPairs:
    write, columns = (write_parquet, ("face", "comics")) if form == "parquet" else (write_tars, tuple(TARS.values()))
    source = HubPairs(*columns, streaming=True)
    source.find(str(write(root)))
    return source


def stream(source: HubPairs, root: Path, batch_size: int = 3, **options: Any) -> streaming.PairStream:
    """A stream of names."""

    def load(row: Any, number: int, seed: int) -> dict[str, Any]:
        return {"name": source.streamed_pair(row, number).name, "seed": seed}

    return streaming.PairStream(source.stream(str(root)), load, batch_size, 5, **options)


def names(batches: Any) -> list[str]:
    return [name for batch in batches for name in batch["name"]]


def make_stream(root: Path, **options: Any) -> PairedImageDataModule:
    return make_data(root, layout="hub", streaming=True, **options)


@pytest.mark.parametrize("replicas", [1, 2, 3, 4])
def test_an_epoch_has_every_training_pair_once_over_all_processes(
    source: HubPairs, replicas: int, tmp_path: Path
) -> None:
    parts = [names(stream(source, tmp_path / "set", replicas=replicas, rank=rank)) for rank in range(replicas)]

    assert sorted(name for part in parts for name in part) == sorted(TRAIN)
    assert all(parts)


def test_each_epoch_has_another_order_that_the_seed_decides(source: HubPairs, tmp_path: Path) -> None:
    first, again, second = (names(stream(source, tmp_path / "set", epoch=lambda n=n: n)) for n in (0, 0, 1))

    assert first == again != second
    assert first != TRAIN
    assert sorted(first) == sorted(second)


@pytest.mark.parametrize("replicas", [1, 3])
def test_a_stream_continues_where_any_batch_left_it(source: HubPairs, replicas: int, tmp_path: Path) -> None:
    make = partial(stream, source, tmp_path / "set", replicas=replicas, epoch=lambda: 2)
    for rank in range(replicas):
        whole = list(make(rank=rank))
        for seen, batch in enumerate(whole, 1):
            resumed = make(rank=rank, state=batch[streaming.STATE])
            rest = list(resumed)
            assert names(rest) == names(whole[seen:])
            assert [b["seed"].tolist() for b in rest] == [b["seed"].tolist() for b in whole[seen:]]
            assert names(resumed) == names(whole)  # the next time it begins at the front


def test_all_processes_end_with_the_first_that_has_no_more(source: HubPairs, tmp_path: Path) -> None:
    left = [3]

    def others_have_more(mine: bool) -> bool:
        left[0] -= 1
        return mine and left[0] >= 0

    assert len(list(stream(source, tmp_path / "set", agree=others_have_more))) == 3


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_parquet(tmp_path_factory.mktemp("streamed") / "set")


@pytest.mark.parametrize("options", [{}, {"resize": "random_crop", "image_size": 32}, {"batch_size": 3}])
def test_a_training_resumed_at_any_batch_is_as_if_unstopped(shards: Path, options: Any, tmp_path: Path) -> None:
    size = options.get("image_size", 64)

    def train(folder: Path, **more: Any) -> Any:
        model = make_model("autoencoder", image_size=size)
        data = make_stream(shards, **({"batch_size": 4} | options))
        keep = LastCheckpoint(str(folder), every_n_steps=1, keep=100)
        fit(model, data, max_steps=8, max_epochs=-1, callbacks=[keep], **more)
        return model

    whole = train(tmp_path / "whole")
    for step in (1, 2, 4, 5, 7):
        resumed = train(tmp_path / f"{step}", ckpt_path=tmp_path / "whole" / f"step_{step:08d}.ckpt")
        for name, weight in whole.state_dict().items():
            assert torch.equal(weight, resumed.state_dict()[name]), (step, name)


def test_pairs_that_cannot_be_used_are_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_tars(tmp_path / "set")
    content = bytearray((root / "train-00001.tar").read_bytes())
    start = content.index(b"IDAT")  # of the first image
    content[start + 4 : start + 24] = bytes(20)
    (root / "train-00001.tar").write_bytes(content)
    data = make_stream(root, batch_size=4, **TARS)
    data.setup()

    with caplog.at_level(logging.WARNING):
        seen = names(data.train_dataloader())
    assert sorted(seen) == sorted(name for name in TRAIN if name != "train1_0")
    assert "Left out of the training: train1_0: " in caplog.text
    assert "train-00001.tar train1_0[0] face.png" in caplog.text

    monkeypatch.setattr(streaming, "TOO_MANY", 1)
    with pytest.raises(UserError, match="1 pairs in a row can't be used"):
        names(data.train_dataloader())


def test_val_and_test_that_are_not_stored_are_the_last_shards(tmp_path: Path) -> None:
    data = make_stream(write_parquet(tmp_path / "set", {"train": 4}))
    data.setup()

    assert {split: len(pairs.pairs) for split, pairs in data.datasets.items()} == {
        "train": 0,
        "val": EACH,
        "test": EACH,
    }
    held = {pair.name for split in ("val", "test") for pair in data.datasets[split].pairs}
    seen = names(data.train_dataloader())
    assert len(seen) == 2 * EACH
    assert not held & set(seen)
    assert data.description["counts"] == {"train": None, "val": EACH, "test": EACH}
    for files in (["one.tar", "two.tar"], ["1.png", "2.png", "metadata.jsonl"]):
        with pytest.raises(UserError, match=r"train has no shard to spare. Store some pairs for"):
            hold_out({"train": files})


def test_streams_have_no_folds(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data.folds goes without data.streaming"):
        make_stream(tmp_path, folds=3).setup()


def test_a_change_of_a_shard_changes_the_fingerprint(tmp_path: Path) -> None:
    root, marks = write_tars(tmp_path / "set"), []
    for change in (0, 0, 512):
        with (root / "train-00002.tar").open("ab") as file:
            file.write(bytes(change))
        data = make_stream(root, **TARS)
        data.setup()
        marks.append(data.description["fingerprint"])

    assert marks[0] == marks[1] != marks[2]


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    for name in ("READ", "OPEN"):
        monkeypatch.setattr(datasets.config, f"STREAMING_{name}_RETRY_INTERVAL", 0.01)
        monkeypatch.setattr(datasets.config, f"STREAMING_{name}_MAX_RETRIES", 3)


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize("form", ["parquet", "tars"])
def test_a_connection_that_breaks_off_is_made_again(form: str, tmp_path: Path) -> None:
    root = {"parquet": write_parquet, "tars": write_tars}[form](tmp_path / "set")
    with serving(root) as server:
        data = make_stream(Path("unused"), batch_size=4, **(TARS if form == "tars" else {}))
        data.root = f"{server.url}/files"
        data.setup()
        server.breaks = 2
        assert sorted(names(data.train_dataloader())) == sorted(TRAIN)
        assert server.breaks == 0

        loader, server.breaks = data.train_dataloader(), 10**6
        with pytest.raises(UserError, match="Streaming the training pairs ended"):
            names(loader)
