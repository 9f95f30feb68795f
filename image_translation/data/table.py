"""Pairs that a CSV file lists: one row a pair, with the columns input, target and, if wanted, split and name."""

import csv
import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from image_translation.cli.errors import UserError, nearest
from image_translation.data.layout import EXTENSIONS, SPLITS, Layout, Pair, PairingError

LONGEST_NAME = 200  # in bytes; a file system allows 255, with the extension
COLUMNS = ("input", "target", "split", "name")


def read_table(root: Path, layout: Layout, troubles: list[PairingError]) -> tuple[dict[str, list[Pair]], list[str]]:
    """The pairs of each split, and the splits that the table does not name; without a split column all are in train.

    Paths are relative to ``root`` or absolute. A pair's name is its row's, or else made of the target's path from
    ``root`` on, so that neither adding rows nor moving the folder changes one. (Of absolute paths to elsewhere it is
    the part in which they differ; rows that lie elsewhere again can change that.)

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
    names = _default_names(root, [row["target"] for _, row in rows])
    for (line, row), default in zip(rows, names, strict=True):
        split = row["split"] if has_splits else "train"
        sides = [row["input"], row["target"]]
        files = [root / side for side in (sides if layout.direction == "AtoB" else sides[::-1])]
        name = row["name"] or default
        if problem := _problem(split, sides, files, name):
            there = tuple(file for file in files if os.path.isfile(file))  # noqa: PTH113 (Path's raises for some)
            troubles.append(PairingError("table", f"{path}, line {line}: {problem}", there))
            continue
        lines[name].append(line)
        found[split].append(Pair(name, *files))
    for name, several in lines.items():
        if len(several) > 1:
            text = f"{path}, lines {', '.join(map(str, several))}: all are called {name!r}; name them in a column name."
            troubles.append(PairingError("table", text, (path,)))
    for pairs in found.values():
        pairs.sort(key=lambda pair: pair.name)
    return found, [split for split in ("val", "test") if not found[split]]


def _problem(split: str, sides: list[str], files: list[Path], name: str) -> str | None:
    if not all(sides):
        return f"{'target' if sides[0] else 'input'} is empty."
    if split not in SPLITS:
        return f"split is {split!r}, expected one of {', '.join(SPLITS)}."
    for file in files:
        try:
            file.stat()
        except FileNotFoundError:
            return f"{file} does not exist."
        except (OSError, ValueError) as error:  # too long, not to be read, a zero byte in it …
            return f"{str(file)[:100]!r}: {getattr(error, 'strerror', None) or error}."
        if not file.is_file():
            return f"{file} is {'a folder' if file.is_dir() else 'no file'}, expected a image."
        if file.suffix.lower() not in EXTENSIONS:
            return f"{file} has none of the extensions {' '.join(sorted(EXTENSIONS))}."
    if "/" in name or name.startswith(".") or not 0 < len(name.encode("utf-8", "surrogateescape")) <= LONGEST_NAME:
        return (
            f"{name!r} cannot be the name of a saved image. Give the row a name in the column name, of up to "
            f"{LONGEST_NAME} bytes, without '/' and with no dot in front."
        )
    return None


def _default_names(root: Path, targets: Sequence[str]) -> list[str]:
    """What pairs are called whose rows give no name."""
    here = os.path.abspath(root)  # noqa: PTH100 (nothing but '..' and '.' is resolved: links stay)
    paths = [os.path.normpath(os.path.join(here, target)) for target in targets]  # noqa: PTH118
    elsewhere = {path for path, target in zip(paths, targets, strict=True)
                 if Path(target).is_absolute() and not Path(path).is_relative_to(here)}  # fmt: skip
    common = os.path.commonpath([os.path.dirname(path) for path in elsewhere]) if elsewhere else here  # noqa: PTH120
    names = []
    for path in paths:
        parts = Path(os.path.relpath(path, common if path in elsewhere else here)).parts
        names.append(_shortened("_".join(part for part in parts if part != "..").rpartition(".")[0].lstrip("._")))
    return names


def _shortened(name: str) -> str:
    """The end of a long name, after a hash of the whole."""
    content = name.encode("utf-8", "surrogateescape")
    if len(content) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(content).hexdigest()[:16]
    return digest + "_" + content[len(digest) + 1 - LONGEST_NAME :].decode("utf-8", "ignore")


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
            if twice := [column for column in COLUMNS if columns.count(column) > 1]:
                raise UserError(f"{path} has several columns {twice[0]!r}: {','.join(columns)!r}. Keep one of them.")
            reader.fieldnames = columns
            rows = [
                (reader.line_num, {column: (row.get(column) or "").strip() for column in COLUMNS})
                for row in reader
            ]  # fmt: skip
            return [(line, row) for line, row in rows if any(row.values())]
    except OSError as error:
        raise UserError(f"data.table={path} cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"data.table={path} is not a CSV file in UTF-8: {error}.") from error
