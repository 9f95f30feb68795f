"""Cross-validation: every pair is tested once, and stays in its fold."""

from collections import Counter
from pathlib import Path

import pytest
from conftest import Command, read_csv, read_json, succeeded
from helpers.training import make_data
from test_sources import source, touch

from image_translation.cli.errors import UserError


def split_of(root: Path, folds: int, fold: int, val: float = 0.2) -> dict[str, str]:
    """The split of each pair."""
    splits, errors = source().scan(root, val, 0.1, folds, fold)
    assert not errors
    return {pair.name: split for split, pairs in splits.items() for pair in pairs}


def test_every_pair_is_tested_in_one_fold(tmp_path: Path) -> None:
    """Whatever split it is stored in; and what is for val in one fold is so in all that don't test it."""
    stored = {"train": range(60), "val": range(60, 70), "test": range(70, 100)}
    for split, numbers in stored.items():
        touch(tmp_path, *(f"{split}/{half}/{number}.png" for number in numbers for half in "ab"))
    found = [split_of(tmp_path, 5, fold) for fold in range(5)]
    assert all(sorted(map(int, splits)) == list(range(100)) for splits in found)
    for name in found[0]:
        splits = Counter(splits[name] for splits in found)
        assert splits.pop("test") == 1
        assert list(splits.values()) == [4]
    sizes = [Counter(splits.values()) for splits in found]
    assert all(10 <= count["test"] <= 30 for count in sizes)
    assert all(5 <= count["val"] <= 30 for count in sizes)

    touch(tmp_path, *(f"train/{half}/{number}.png" for number in range(1000, 1050) for half in "ab"))
    after = split_of(tmp_path, 5, 2)
    assert {name: after[name] for name in found[2]} == found[2]


def test_equal_names_in_two_splits_are_told_apart(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{split}/{half}/{name}.png" for split in ("train", "test") for half in "ab" for name in "01"))
    touch(tmp_path, "train/a/2.png", "train/b/2.png")
    assert sorted(split_of(tmp_path, 2, 0)) == ["2", "test_0", "test_1", "train_0", "train_1"]


@pytest.mark.parametrize(("options", "message"), [
    ({"folds": 1}, "folds must be at least 2"), ({"folds": 5, "fold": 5}, "fold must be one of 0, 1, 2, 3, 4; got 5"),
    ({"folds": 2.5}, "folds must be a whole number"),
])  # fmt: skip
def test_folds_out_of_range(options: dict[str, int], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        make_data(tmp_path, **options)


def test_the_experiment(comic_root: Path, command: Command, tmp_path: Path) -> None:
    """Two folds of all twelve pairs, then the comparison of what all of them were scored."""
    result = succeeded(command(
        "train", "experiment=cross_validate", "model=autoencoder", "model.base_channels=2", "data.image_size=64",
        "data.folds=2", "data.fold=0,1", "data.batch_size=2", "data.val_fraction=0.5", "trainer.max_epochs=1",
        "trainer.accelerator=cpu", "logger=none", f"data.root={comic_root}",
    ))  # fmt: skip
    sweep = tmp_path / "cwd" / "multirun" / "cross_validation"
    runs = sorted(sweep.glob("comic_autoencoder_0_*"))
    tested = [{row["name"]: row["psnr"] for row in read_csv(run / "test" / "per_image.csv")} for run in runs]
    assert len(tested) == 2
    assert not tested[0].keys() & tested[1].keys()
    rows = read_csv(sweep / "compare" / "per_image.csv")
    pooled = {row["name"]: row["psnr"] for row in rows if row["model"] == "autoencoder"}
    assert pooled == pytest.approx(tested[0] | tested[1])
    assert len(pooled) == sum(read_json(runs[0] / "run.json")["data"]["counts"].values())
    assert "lacks a finished run" not in result.stdout
