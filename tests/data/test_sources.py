import re
from pathlib import Path

import pytest

from image_translation.cli.errors import UserError
from image_translation.data.layout import Layout
from image_translation.data.pairs import find_pairs

FOLDERS = Layout("folders", "a", "b")


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def names(root: Path, layout: Layout = FOLDERS, fraction: float = 0.0) -> dict[str, list[str]]:
    return {split: [p.name for p in pairs] for split, pairs in find_pairs(root, layout, fraction, fraction).items()}


def test_pairs_share_a_stem_and_nothing_else(tmp_path: Path) -> None:
    touch(tmp_path, "a/10.png", "a/9.JPG", "a/ä ö.webp", "b/10.jpeg", "b/9.tiff", "b/ä ö.bmp")
    touch(tmp_path, "a/.hidden.png", "a/Thumbs.db", "b/notes.txt")
    pairs = find_pairs(tmp_path, FOLDERS, 0, 0)["train"]
    assert [(p.name, p.input.name if p.input else None, p.target.name) for p in pairs] == [
        ("10", "10.png", "10.jpeg"),
        ("9", "9.JPG", "9.tiff"),
        ("ä ö", "ä ö.webp", "ä ö.bmp"),
    ]


@pytest.mark.parametrize("pattern", ["{split}/{side}/{split}1.png", "{side}/{split}/{split}1.png"])
def test_splits_are_sub_folders_in_either_order(tmp_path: Path, pattern: str) -> None:
    for split in ("train", "val", "test"):
        touch(tmp_path, *(pattern.format(split=split, side=side) for side in "ab"))
    assert names(tmp_path) == {"train": ["train1"], "val": ["val1"], "test": ["test1"]}


@pytest.mark.parametrize("kind", ["aligned", "derived"])
def test_one_folder(tmp_path: Path, kind: str) -> None:
    touch(tmp_path, "train/1.png", "val/2.png", "test/3.png")
    assert names(tmp_path, Layout(kind)) == {"train": ["1"], "val": ["2"], "test": ["3"]}
    touch(tmp_path / "other", "photos/1.png")
    assert names(tmp_path / "other", Layout(kind, target_folder="photos"))["train"] == ["1"]


def test_direction_swaps_the_folders(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "b/1.png")
    (pair,) = find_pairs(tmp_path, Layout("folders", "a", "b", "BtoA"), 0, 0)["train"]
    assert pair.input == tmp_path / "b/1.png"
    assert pair.target == tmp_path / "a/1.png"


def test_adding_images_moves_none_to_another_split(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{side}/{i}.png" for side in "ab" for i in range(0, 400, 2)))
    before = names(tmp_path, fraction=0.2)
    touch(tmp_path, *(f"{side}/{i}.png" for side in "ab" for i in range(400)))
    after = names(tmp_path, fraction=0.2)
    for split in before:
        assert set(before[split]) <= set(after[split])
    assert sorted(name for split in after.values() for name in split) == sorted(str(i) for i in range(400))
    # Binomial(400, 0.2) lies in 48 … 112 but for one time in 10,000.
    assert 48 <= len(after["val"]) <= 112
    assert 48 <= len(after["test"]) <= 112


def test_a_missing_split_is_cut_out_of_train_and_the_others_stay(tmp_path: Path) -> None:
    touch(tmp_path, *(f"train/{side}/{i}.png" for side in "ab" for i in range(100)), "test/a/x.png", "test/b/x.png")
    found = names(tmp_path, fraction=0.2)
    assert found["test"] == ["x"]
    assert found["val"]
    assert sorted(found["train"] + found["val"]) == sorted(str(i) for i in range(100))


@pytest.mark.parametrize(
    ("folder", "hint"),
    [("Train", "Train (expected in lower case: train)"), ("validation", "validation (did you mean val?)"),
     ("testing", "testing (did you mean test?)"), ("tset", "tset (did you mean test?)"), ("notes", "notes")],
)  # fmt: skip
def test_folders_that_may_be_meant_for_a_split_are_named(
    folder: str, hint: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path, f"{folder}/a/1.png", f"{folder}/b/1.png")
    with pytest.raises(UserError, match=f"Found there: {re.escape(hint)}"):
        names(tmp_path)
    touch(tmp_path, *(f"{split}/{side}/{split}.png" for split in ("train", "val", "test") for side in "ab"))
    names(tmp_path)
    assert f"passed over folders that are no split's: {hint}" in caplog.text


def test_orphans_on_either_side_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "b/1.png", "a/left.png", "b/right.jpg")
    with pytest.raises(UserError, match=r"without a partner(.|\n)*a/left\.png(.|\n)*b/right\.jpg"):
        names(tmp_path)


def test_two_files_with_one_stem_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "a/1.jpg", "b/1.png")
    with pytest.raises(UserError, match=r"only once(.|\n)*1\.jpg, 1\.png"):
        names(tmp_path)


def test_half_a_split_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.png")
    with pytest.raises(UserError, match=r"train/a exists but its partner .*train/b does not"):
        names(tmp_path)


def test_a_root_without_images_says_what_was_expected_and_found(tmp_path: Path) -> None:
    touch(tmp_path, "c/1.png")
    with pytest.raises(UserError, match=r"No images(.|\n)*train/a and .*train/b(.|\n)*Found there: c"):
        names(tmp_path)


def test_a_long_list_says_how_much_it_leaves_out(tmp_path: Path) -> None:
    touch(tmp_path, *(f"a/{i:03}.png" for i in range(60)), "b/none.png")
    with pytest.raises(UserError, match="and 11 more"):
        names(tmp_path)


def test_layouts_that_contradict_themselves() -> None:
    with pytest.raises(UserError, match=r"data\.layout must be one of folders, aligned, derived, table; got 'folder'"):
        Layout("folder")
    with pytest.raises(UserError, match=r"data\.input_folder, data.target_folder"):
        Layout("folders", input_folder="a")
    with pytest.raises(UserError, match=r"data\.table=pairs\.csv"):
        Layout("table")
