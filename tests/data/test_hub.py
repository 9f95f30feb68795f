"""``layout=hub``: pairs in parquet, tar archives and image folders, in a folder, at an address or on the hub."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from conftest import Command, comic_of, image, read_json, succeeded
from helpers.shards import EACH, SHARDS, rows, serving, write_image_folder, write_parquet, write_tars
from helpers.training import make_data

from image_translation.cli.errors import UserError
from image_translation.data import PairedImageDataModule
from image_translation.data.sources import hub

COLUMNS: dict[str, dict[str, Any]] = {
    "parquet": {},
    "tars": {"input_folder": "face.png", "target_folder": "comics.png"},
    "images": {},
}
WRITE: dict[str, Callable[[Path], Path]] = {"parquet": write_parquet, "tars": write_tars, "images": write_image_folder}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "DOWNLOADED_DATASETS_PATH", tmp_path / "downloads")
    monkeypatch.setattr(hub, "PAUSES", (0.01, 0.01, 0.01))


def hub_data(root: object, **options: Any) -> PairedImageDataModule:
    data = make_data(Path("unused"), layout="hub", **options)
    data.root = str(root)
    return data


def names(data: PairedImageDataModule) -> dict[str, list[str]]:
    data.setup()
    return {split: [pair.name for pair in dataset.pairs] for split, dataset in data.datasets.items()}


def stored(shards: dict[str, int] = SHARDS) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for split, _, content in rows(shards):
        found["val" if split == "validation" else split] += [name for name, _, _ in content]
    return found


@pytest.mark.parametrize("form", WRITE)
def test_a_folder_in_each_form_has_the_pairs_with_their_names_and_pixels(form: str, tmp_path: Path) -> None:
    data = hub_data(WRITE[form](tmp_path / "set"), **COLUMNS[form])

    assert names(data) == stored()
    item = data.datasets["val"][1]
    source = image(4 * EACH + 2)
    for half, expected in (("input", source), ("target", comic_of(source))):
        assert item[half].permute(1, 2, 0).numpy().tolist() == np.asarray(expected).tolist()


def test_the_same_pairs_have_the_same_fingerprint_in_each_form_and_in_folders(tmp_path: Path) -> None:
    for split, _, content in rows():
        folder = tmp_path / "folders" / split.removesuffix("idation")
        for half, i in (("face", 1), ("comics", 2)):
            (folder / half).mkdir(parents=True, exist_ok=True)
            for row in content:
                (folder / half / f"{row[0]}.png").write_bytes(row[i])  # type: ignore[arg-type]
    every = [hub_data(write(tmp_path / form), **COLUMNS[form]) for form, write in WRITE.items()]
    every.append(make_data(tmp_path / "folders"))
    for data in every:
        data.setup()

    assert len({data.description["fingerprint"] for data in every}) == 1


def test_a_second_start_remembers_what_it_has_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, read = write_parquet(tmp_path / "set"), hub.Cell.read_bytes
    first = hub_data(root)
    first.setup()
    monkeypatch.setattr(hub.Cell, "read_bytes", lambda _: pytest.fail("read again"))
    second = hub_data(root)
    second.setup()
    assert first.description == second.description

    monkeypatch.setattr(hub.Cell, "read_bytes", read)
    other = write_parquet(tmp_path / "other", {"train": 1, "validation": 1, "test": 1})
    (root / "train-00000.parquet").write_bytes((other / "test-00000.parquet").read_bytes())
    third = hub_data(root)
    third.setup()
    assert third.description["fingerprint"] != first.description["fingerprint"]


def test_splits_that_are_not_stored_are_taken_out_of_train_by_name(tmp_path: Path) -> None:
    data = hub_data(write_parquet(tmp_path / "set", {"train": 8}), val_fraction=0.2, test_fraction=0.2)

    found = names(data)
    assert sorted(name for of_split in found.values() for name in of_split) == sorted(stored({"train": 8})["train"])
    assert all(found.values())


def test_btoa_swaps_the_columns(tmp_path: Path) -> None:
    root = write_parquet(tmp_path / "set")
    plain, swapped = hub_data(root), hub_data(root, direction="BtoA")
    for data in (plain, swapped):
        data.setup()

    one, other = plain.datasets["test"][0], swapped.datasets["test"][0]
    assert one["input"].equal(other["target"])
    assert one["target"].equal(other["input"])


def test_several_columns_are_joined(tmp_path: Path) -> None:
    data = hub_data(write_parquet(tmp_path / "set"), input_folder=["face", "comics"])
    data.setup()

    assert data.datasets["test"][0]["input"].shape[0] == 6


def test_inputs_can_be_derived_from_a_column(tmp_path: Path) -> None:
    data = hub_data(write_parquet(tmp_path / "set"), target_folder="face", derive=lambda x: -x)
    data.setup()

    batch = next(iter(data.plain_batches("test", torch.device("cpu"))))
    assert (batch["input"] + batch["target"]).abs().max() < 1e-6


def test_rows_without_names_are_numbered(tmp_path: Path) -> None:
    from datasets import load_dataset

    root = tmp_path / "set"
    for split, table in load_dataset(str(write_parquet(tmp_path / "named"))).items():
        root.mkdir(exist_ok=True)
        table.remove_columns("name").to_parquet(root / f"{split}.parquet")

    assert names(hub_data(root))["val"] == [f"{row:08d}" for row in range(EACH)]


@pytest.mark.parametrize("form", ["parquet", "tars"])
@pytest.mark.parametrize("place", ["", "/train-*", "/train-00001"])
def test_an_address_may_be_a_folder_a_pattern_or_a_file(form: str, place: str, tmp_path: Path) -> None:
    folder = WRITE[form](tmp_path / "set")
    fsspec.filesystem("memory").put(str(folder), f"/{tmp_path.name}", recursive=True)
    suffix = {"parquet": ".parquet", "tars": ".tar"}[form] if place.endswith("1") else ""

    found = names(hub_data(f"memory://{tmp_path.name}{place}{suffix}", test_fraction=0.3, **COLUMNS[form]))

    count = {"": 6, "/train-*": 4, "/train-00001": 1}[place] * EACH
    assert sum(map(len, found.values())) == count


def test_splits_are_told_by_what_is_below_the_address() -> None:
    memory = fsspec.filesystem("memory")
    for name in ("test/1.tar", "test/2.tar", "sets/train/1.tar", "sets/dev/1.tar"):
        memory.pipe(f"/told/{name}", b"")

    assert {split: len(shards) for split, shards in hub.find_shards("memory://told/test").items()} == {"train": 2}
    assert {split: len(shards) for split, shards in hub.find_shards("memory://told/sets").items()} == {
        "train": 1,
        "val": 1,
    }


@pytest.mark.parametrize("form", ["parquet", "tars"])
def test_a_server_that_breaks_off_is_asked_again(form: str, tmp_path: Path) -> None:
    with serving(WRITE[form](tmp_path / "set")) as server:
        server.breaks = 2
        assert names(hub_data(f"{server.url}/files", **COLUMNS[form])) == stored()
        assert server.breaks == 0


def test_a_server_that_always_breaks_off_is_an_error_and_what_came_is_kept(tmp_path: Path) -> None:
    with serving(write_parquet(tmp_path / "set")) as server:
        server.breaks = 10**6
        with pytest.raises(UserError, match=f"data.root={server.url}/files can't be read"):
            hub_data(f"{server.url}/files").setup()
        server.breaks = 0
        assert names(hub_data(f"{server.url}/files")) == stored()


def test_a_data_set_of_the_hub_is_trained_on_and_later_used_without_a_network(command: Command, tmp_path: Path) -> None:
    options = [
        "task=comic",
        "model=color_curve",
        "data.layout=hub",
        "data.root=own/pairs",
        "data.image_size=64",
        "logger=none",
    ]
    environment = {"HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": "http://127.0.0.1:9"}
    with serving(write_parquet(tmp_path / "set")) as server:
        environment["HF_ENDPOINT"] = server.url
        succeeded(command("train", *options, f"hydra.run.dir={tmp_path / 'one'}", **environment))
    succeeded(command("train", *options, f"hydra.run.dir={tmp_path / 'two'}", HF_HUB_OFFLINE="1", **environment))

    one, two = (read_json(tmp_path / run / "run.json")["data"] for run in ("one", "two"))
    assert one == two
    assert one["counts"] == {"train": 4 * EACH, "val": EACH, "test": EACH}


@pytest.mark.parametrize(("root", "expected"), [
    ("nowhere", "there is no such folder"), ("memory://empty", "found no .parquet or .tar files"),
    (None, "name a folder, an address or a name on the hub"),
])  # fmt: skip
def test_what_is_no_data_set_is_an_error(root: str | None, expected: str) -> None:
    data = hub_data(root)
    data.root = root
    with pytest.raises(UserError, match=expected):
        data.setup()


def test_a_wrong_column_is_an_error_that_names_the_columns(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no column photo; it has \['name', 'face', 'comics'\]"):
        hub_data(write_parquet(tmp_path / "set"), input_folder="photo").setup()


def test_damaged_images_are_named_all_at_once(tmp_path: Path) -> None:
    from datasets import Dataset

    (tmp_path / "set").mkdir()
    content = next(rows())[2]
    faces = [face if i % 2 else face[: len(face) // 2] for i, (_, face, _) in enumerate(content)]
    columns = {"name": [row[0] for row in content], "face": faces, "comics": [row[2] for row in content]}
    Dataset.from_dict(columns).to_parquet(tmp_path / "set" / "train.parquet")

    with pytest.raises(UserError, match=r"(?s)3 of the images can't be used.*train\[0\] face.*train\[4\] face"):
        hub_data(tmp_path / "set").setup()


@pytest.mark.parametrize("options", [{"streaming": True, "layout": "folders"}, {"layout": "hub", "input_suffix": "_a"}])
def test_options_of_other_layouts_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="layout="):
        make_data(Path("unused"), **options)


def test_other_splits_are_named_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_parquet(tmp_path / "set")
    (root / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n"
        + "".join(
            f"  - split: {split}\n    path: {stem}-*\n"
            for split, stem in (("train", "train"), ("dev", "test"), ("x", "v"))
        ).replace("v-*", "validation-*")
        + "---\n"
    )

    found = names(hub_data(root))
    assert found["val"] == stored()["test"]
    assert not {*stored()["val"]} & {name for of_split in found.values() for name in of_split}
    assert "ignored splits: x" in caplog.text
