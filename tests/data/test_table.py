"""Pairs that a CSV file lists."""

from pathlib import Path

import pytest
from conftest import SIZE, image
from recorder import datamodule

from image_translation.cli.errors import UserError
from image_translation.data.sources import TablePairs
from image_translation.data.sources.base import Pair, raise_for


def add(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        image(1).save(root / name)
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return add(tmp_path, "a/1.png", "a/2.jpg", "b/1.png", "b/2.png", "deep/er/ü 3.png")


def pairs(root: Path, *lines: str, direction: str = "AtoB") -> dict[str, list[Pair]]:
    (root / "pairs.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    splits, errors = TablePairs(table="pairs.csv", direction=direction).scan(root, 0, 0)
    raise_for(errors)
    return splits


def names(splits: dict[str, list[Pair]]) -> dict[str, set[str]]:
    return {split: {pair.name for pair in there} for split, there in splits.items()}


def test_rows_are_pairs_whatever_their_files_are_called(root: Path) -> None:
    rows = ["input,target", "a/1.png,b/2.png", ",", "", f"{root}/a/2.jpg,deep/er/ü 3.png"]
    assert pairs(root, *rows)["train"] == [
        Pair("b_2", root / "a/1.png", root / "b/2.png"),
        Pair("deep_er_ü 3", root / "a/2.jpg", root / "deep/er/ü 3.png"),
    ]
    assert pairs(root, *rows, direction="BtoA")["train"][0] == Pair("b_2", root / "b/2.png", root / "a/1.png")


def test_columns_in_any_order_with_spaces_quotes_and_a_byte_order_mark(root: Path) -> None:
    found = pairs(root, "\ufeffsplit, target ,input", 'test, "b/1.png" ,a/1.png', "train,b/2.png,a/2.jpg")
    assert names(found) == {"train": {"b_2"}, "val": set(), "test": {"b_1"}}


def test_names_are_the_path_below_the_root_without_what_a_file_cannot_begin_with(root: Path) -> None:
    below = add(root, "clean/000.png", "b/.hidden/1.png") / "b"
    targets = ["../clean/000.png", ".hidden/1.png", f"{below}/2.png", "../b/1.png"]
    found = pairs(below, "input,target", *(f"1.png,{target}" for target in targets))
    assert names(found)["train"] == {"clean_000", "hidden_1", "2", "1"}


@pytest.mark.parametrize("inside", [True, False], ids=["inside the root", "outside"])
def test_the_same_data_elsewhere_has_the_same_splits_and_fingerprint(inside: bool, tmp_path: Path) -> None:
    described = []
    for place in ("here", "some/where/else"):
        data = tmp_path / place / "data"
        root = data if inside else tmp_path / place / "project"
        root.mkdir(parents=True)
        halves = [[f"{data}/{side}/part{i % 3}/{i}.png" for side in ("raw", "clean")] for i in range(40)]
        add(data, *(file for both in halves for file in both))
        (root / "pairs.csv").write_text("\n".join(["input,target", *map(",".join, halves)]))
        options = {"val_fraction": 0.3, "test_fraction": 0.3, "image_size": SIZE}
        module = datamodule(root, layout="table", table="pairs.csv", **options)
        splits = {split: dataset.pairs for split, dataset in module.datasets.items()}
        assert all(splits.values())
        described.append((module.description["fingerprint"], names(splits)))
    assert described[0] == described[1]


def test_every_row_that_cannot_be_used_is_named_with_its_line(root: Path) -> None:
    with pytest.raises(UserError) as error:
        pairs(root, "input,target,split,name", "a/1.png,b/1.png,train,ok", "a/1.png,,train,",
              "a/none.png,b/1.png,train,", "a/1.png,b/2.png,trian,", "a/1.png,b/2.png,val,../out", "a/1.png,b/2.png,,x",
              "a/2.jpg,b/2.png,val,ok", "a/1.png,.,val,", f"a/1.png,b/1.png,val,{'n' * 201}")  # fmt: skip
    text = str(error.value)
    for expected in (f"line 3: {root} is not a file", f"line 4: {root / 'a/none.png'} is not a file",
                     "line 5: split is 'trian'", "line 6: '../out' can't be a file name",
                     "line 8: the name 'ok' is that of 2 rows", "line 9: ", "line 10: 'nnn"):  # fmt: skip
        assert expected in text, expected
    assert text.count("line") == 8


def test_a_table_that_is_none_is_named(root: Path) -> None:
    table, file = TablePairs(table="pairs.csv"), root / "pairs.csv"
    with pytest.raises(UserError, match=r"pairs\.csv cannot be read .*No such file"):
        table.scan(root, 0, 0)
    for content, message in {
        b"input;target\n": r"expected the columns input,target in the first line, found 'input;target'",
        b"": r"expected the columns", b"input,target\n": r"lists no pairs",
        b"input,target\n\xff,\xff\n": r"cannot be read as a CSV file in UTF-8",
    }.items():  # fmt: skip
        file.write_bytes(content)
        with pytest.raises(UserError, match=message):
            table.scan(root, 0, 0)
