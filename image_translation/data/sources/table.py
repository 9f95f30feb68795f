"""Pairs that a CSV file lists: one row for each, with the columns input and target, and optionally split and name."""

import csv
import os
from collections import Counter, defaultdict
from pathlib import Path

from image_translation.cli.errors import UserError
from image_translation.data.sources.base import SPLITS, Found, Pair, PairingError, PairSource

COLUMNS = ("input", "target", "split", "name")
MAX_NAME = 200  # bytes; a file system allows 255, with the extension


class TablePairs(PairSource):
    """Pairs listed in a CSV file, with paths that are relative to the root or absolute."""

    needs = ("table",)

    def find(self, root: Path) -> Found:
        path = root / str(self.table)
        rows = _read_rows(path)
        if not rows:
            raise UserError(f"data.table={path} lists no pairs.")
        names = [row["name"] or _default_name(root, row["target"]) for row in rows.values()]
        counts = Counter(names)
        found: dict[str, list[Pair]] = defaultdict(list)
        errors: list[PairingError] = []
        for (line, row), name in zip(rows.items(), names, strict=True):
            split = row["split"] or "train"
            files = [root / row["input"], root / row["target"]]
            missing = [file for file in files if not file.is_file()]
            problem = ""
            if missing:
                problem = f"{missing[0]} is not a file."
            elif split not in SPLITS:
                problem = f"split is {split!r}, expected one of {', '.join(SPLITS)}."
            elif "/" in name or name.startswith(".") or not 0 < len(os.fsencode(name)) <= MAX_NAME:
                problem = f"{name!r} can't be a file name of at most {MAX_NAME} bytes. Set another in the column name."
            elif counts[name] > 1:
                problem = f"the name {name!r} is that of {counts[name]} rows. Set others in the column name."
            if problem:
                there = tuple(file for file in files if file.is_file())
                errors.append(PairingError("table", f"{path}, line {line}: {problem}", there))
            else:
                found[split].append(Pair(name, files[0], files[1]))
        return {split: sorted(pairs, key=lambda pair: pair.name) for split, pairs in found.items()}, errors


def _default_name(root: Path, target: str) -> str:
    """For a pair whose row has none: its target's path below the root, or the stem of a file elsewhere."""
    here = os.path.abspath(root)  # noqa: PTH100 (links are not resolved)
    path = Path(os.path.normpath(Path(here, target)))
    is_elsewhere = Path(target).is_absolute() and not path.is_relative_to(here)
    parts = Path(path.name if is_elsewhere else os.path.relpath(path, here)).parts
    return "_".join(part for part in parts if part != "..").rpartition(".")[0].lstrip("._")


def _read_rows(path: Path) -> dict[int, dict[str, str]]:
    """The rows by line number, values without the spaces around them, empty rows left out."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            reader.fieldnames = columns = [column.strip() for column in reader.fieldnames or []]
            rows = [(reader.line_num, {name: (row.get(name) or "").strip() for name in COLUMNS}) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"data.table={path} cannot be read as a CSV file in UTF-8: {error}.") from error
    if not {"input", "target"} <= set(columns):
        raise UserError(f"{path}: expected the columns input,target in the first line, found {','.join(columns)!r}.")
    return {line: row for line, row in rows if any(row.values())}
