"""Pairs that a CSV file lists: one row a pair, with the columns input, target and, if wanted, split and name."""

import csv
from collections import defaultdict
from pathlib import Path

from image_translation.data.layout import EXTENSIONS, SPLITS, Layout, Pair, Trouble
from image_translation.errors import UserError, nearest

LONGEST_NAME = 200  # in bytes; a file system allows 255, with the extension
COLUMNS = ("input", "target", "split", "name")


def read_table(root: Path, layout: Layout, troubles: list[Trouble]) -> tuple[dict[str, list[Pair]], list[str]]:
    """The pairs of each split, and the splits that the table does not name; without a split column all are in train.

    Paths are relative to ``root`` or absolute. A pair's name is its row's, or else made of the target's path, so that
    adding rows never changes one.

    Args:
        root: what the paths are relative to.
        layout: names the table.
        troubles: rows that can't be used are added to it.

    Raises:
        UserError: the table can't be read.
    """
    path = root / (layout.table or "")
    rows = _rows(path)
    has_splits = any(row["split"] for _, row in rows)
    found: dict[str, list[Pair]] = {split: [] for split in SPLITS}
    lines: dict[str, list[int]] = defaultdict(list)
    for line, row in rows:
        split = row["split"] if has_splits else "train"
        sides = [row["input"], row["target"]]
        files = [root / side for side in (sides if layout.direction == "AtoB" else sides[::-1])]
        name = row["name"] or "_".join(Path(row["target"]).parts).lstrip("/_").rpartition(".")[0]
        if problem := _problem(split, sides, files, name):
            troubles.append(
                Trouble("table", f"{path}, line {line}: {problem}", tuple(file for file in files if file.is_file()))
            )
            continue
        lines[name].append(line)
        found[split].append(Pair(name, *files))
    for name, several in lines.items():
        if len(several) > 1:
            text = f"{path}, lines {', '.join(map(str, several))}: all are called {name!r}; name them in a column name."
            troubles.append(Trouble("table", text, (path,)))
    for pairs in found.values():
        pairs.sort(key=lambda pair: pair.name)
    return found, [split for split in ("val", "test") if not found[split]]


def _problem(split: str, sides: list[str], files: list[Path], name: str) -> str | None:
    if not all(sides):
        return f"{'target' if sides[0] else 'input'} is empty."
    if split not in SPLITS:
        return f"split is {split!r}, expected one of {', '.join(SPLITS)}."
    for file in files:
        if not file.is_file():
            return f"{file} does not exist."
        if file.suffix.lower() not in EXTENSIONS:
            return f"{file} has none of the extensions {' '.join(sorted(EXTENSIONS))}."
    if "/" in name or name.startswith(".") or not 0 < len(name.encode("utf-8", "surrogateescape")) <= LONGEST_NAME:
        return f"{name!r} cannot be the name of a saved picture."
    return None


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """The table's rows with their line numbers, values without the spaces around them."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = [(column or "").strip() for column in reader.fieldnames or []]
            missing = [column for column in ("input", "target") if column not in columns]
            if missing:
                raise UserError(
                    f"{path} has no column {' and none '.join(missing)}; its first line is {','.join(columns)!r}."
                    f"{nearest(missing[0], columns)} Expected: input,target or input,target,split, then a pair a line."
                )
            reader.fieldnames = columns
            return [
                (reader.line_num, {column: (row.get(column) or "").strip() for column in COLUMNS})
                for row in reader
            ]  # fmt: skip
    except OSError as error:
        raise UserError(f"data.table={path} cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"data.table={path} is not a CSV file in UTF-8: {error}.") from error
