"""Pairs that a CSV file lists: one row for each, with the columns input and target, and optionally split and name."""

import csv
import hashlib
import os
from collections import defaultdict
from pathlib import Path

from image_translation.cli.errors import UserError
from image_translation.data.sources.base import SPLITS, Found, Pair, PairingError, PairSource

MAX_NAME = 200  # bytes; a file system allows 255, with the extension
COLUMNS = ("input", "target", "split", "name")


class TablePairs(PairSource):
    """Pairs listed in a CSV file, with paths that are relative to the root or absolute.

    The name of a pair is that of its row, or made from the target's path below the root, so that neither adding rows
    nor moving the folder changes it. If targets have absolute paths elsewhere, the part in which these differ counts:
    rows from another folder can change it.
    """

    needs = ("table",)
    split_unit = "rows"

    def scan(self, root: Path) -> Found:
        path = root / str(self.table)
        rows = _read_rows(path)
        has_splits = any(row["split"] for row in rows.values())
        names = _default_names(root, [row["target"] for row in rows.values()])
        found: dict[str, list[Pair]] = defaultdict(list)
        lines: dict[str, list[str]] = defaultdict(list)
        errors: list[PairingError] = []
        for (line, row), default in zip(rows.items(), names, strict=True):
            name, split = row["name"] or default, row["split"] if has_splits else "train"
            files = [root / row["input"], root / row["target"]]
            if problem := _problem(row, files, split, name):
                there = tuple(file for file in files if file.is_file())
                errors.append(PairingError("table", f"{path}, line {line}: {problem}", there))
            else:
                lines[name].append(str(line))
                found[split].append(Pair(name, *(files if self.direction == "AtoB" else files[::-1])))
        errors += [
            PairingError("table", f"{path}, lines {', '.join(several)} have the name {name!r}; set others.", (path,))
            for name, several in lines.items() if len(several) > 1
        ]  # fmt: skip
        if not found and not errors:
            raise UserError(f"data.table={path} lists no pairs.")
        return {split: sorted(pairs, key=lambda pair: pair.name) for split, pairs in found.items()}, errors


def _problem(row: dict[str, str], files: list[Path], split: str, name: str) -> str | None:
    if not row["input"] or not row["target"]:
        return "input or target is empty."
    if split not in SPLITS:
        return f"split is {split!r}, expected one of {', '.join(SPLITS)}."
    if missing := [file for file in files if not file.is_file()]:
        return f"{missing[0]} is not a file."
    if "/" in name or name.startswith(".") or not 0 < len(name.encode("utf-8", "surrogateescape")) <= MAX_NAME:
        return f"{name!r} can't be a file name. Set another in the column name: at most {MAX_NAME} bytes, without '/'."
    return None


def _default_names(root: Path, targets: list[str]) -> list[str]:
    """Names for pairs whose rows have none, from the paths of their targets."""
    here = os.path.abspath(root)  # noqa: PTH100 (links are not resolved)
    paths = [os.path.normpath(os.path.join(here, target)) for target in targets]  # noqa: PTH118
    elsewhere = {path for path, target in zip(paths, targets, strict=True)
                 if Path(target).is_absolute() and not Path(path).is_relative_to(here)}  # fmt: skip
    common = os.path.commonpath([os.path.dirname(path) for path in elsewhere]) if elsewhere else here  # noqa: PTH120
    names = []
    for path in paths:
        parts = Path(os.path.relpath(path, common if path in elsewhere else here)).parts
        name = "_".join(part for part in parts if part != "..").rpartition(".")[0].lstrip("._")
        content = name.encode("utf-8", "surrogateescape")
        if len(content) > MAX_NAME:  # the end of it, after a hash of the whole
            digest = hashlib.sha256(content).hexdigest()[:16]
            name = digest + "_" + content[len(digest) + 1 - MAX_NAME :].decode("utf-8", "ignore")
        names.append(name)
    return names


def _read_rows(path: Path) -> dict[int, dict[str, str]]:
    """The rows by line number, values without the spaces around them, empty rows left out."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            reader.fieldnames = columns = [column.strip() for column in reader.fieldnames or []]
            rows = [(reader.line_num, {name: (row.get(name) or "").strip() for name in COLUMNS}) for row in reader]
    except OSError as error:
        raise UserError(f"data.table={path} cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"data.table={path} is not a CSV file in UTF-8: {error}.") from error
    if not {"input", "target"} <= set(columns):
        raise UserError(f"{path}: expected the columns input,target in the first line, found {','.join(columns)!r}.")
    return {line: row for line, row in rows if any(row.values())}
