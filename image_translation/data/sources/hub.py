"""Pairs in tables and archives that Hugging Face ``datasets`` reads: on its hub, in a folder, or at an address."""

import logging
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import fsspec
from fsspec.core import url_to_fs

from image_translation.cli.console import console
from image_translation.cli.errors import UserError
from image_translation.data.sources.base import SPLITS, Found, Pair, PairSource, swap

log = logging.getLogger(__name__)
FORMATS = {".parquet": "parquet", ".tar": "webdataset"}  # of shards at an address: what reads them
SPLIT_NAMES = {"validation": "val", "valid": "val", "dev": "val", **{split: split for split in SPLITS}}
# owner/name:subset@tag
ON_HUB = re.compile(r"(?P<path>[\w.-]+/[\w.-]+)(:(?P<name>[\w.-]+))?(@(?P<revision>[\w./-]+))?")
NAMES = ("name", "__key__")  # columns that name a pair
MOST = 200  # characters of a name
PAUSES = (1.0, 2.0, 4.0, 8.0)  # seconds before a download is tried again
Shards = dict[str, list[str]]  # by split


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """An image that is a value in a table, and is read like a file."""

    rows: Any  # of the table, by number
    row: int
    column: str
    origin: str  # the table

    def __str__(self) -> str:
        return f"{self.origin}[{self.row}] {self.column}"

    def read_bytes(self) -> bytes:
        value: Any = self.rows[self.row][self.column]
        if isinstance(value, Mapping):
            value, path = value.get("bytes"), value.get("path")
            if value is None and path:
                with fsspec.open(path) as file:
                    value = file.read()
        if not isinstance(value, bytes):
            raise UserError(f"{self}: expected an image, found {type(value).__name__}.")
        return value


class HubPairs(PairSource):
    """Pairs in the rows of a data set: the columns ``input_folder`` and ``target_folder`` hold their images.

    Its own splits are used; without any, all rows are in train. With ``streaming`` the training pairs are not found but
    streamed, and a missing val or test is the last of the shards.
    """

    needs: ClassVar[tuple[str, ...]] = ("input_folder", "target_folder")
    is_remote = True
    version = ""  # changes with the data
    shards: Shards

    def find(self, root: str) -> Found:
        builder = open_set(root)
        if self.streaming:
            self.shards = hold_out(shards_of(builder, root))
            builder = open_set(root, {split: self.shards[split] for split in ("val", "test")})
        prepare(builder, root)
        tables = {SPLIT_NAMES.get(split, split): table for split, table in builder.as_dataset().items()}
        self.version = str(builder.cache_dir)
        if len(tables) == 1 and not tables.keys() & {*SPLITS}:
            tables = {"train": next(iter(tables.values()))}
        if others := sorted(tables.keys() - {*SPLITS}):
            log.warning("%s: ignored splits: %s", root, ", ".join(others))
        found = {split: self._pairs(table, f"{root} {split}") for split, table in tables.items() if split in SPLITS}
        return {"train": [], **found} if self.streaming else found, []

    def stream(self, root: str) -> Any:
        """The rows of the training pairs, in the order in which they are stored: a ``datasets.IterableDataset``."""
        builder = open_set(root, {"train": self.shards["train"]})
        try:
            rows = builder.as_streaming_dataset("train")
        except Exception as error:
            raise unreadable(root, error) from error
        return self._with_bytes(rows, root)

    def streamed_pair(self, row: Mapping[str, Any], number: int) -> Pair:
        """The pair of a row of ``stream``."""
        named = [str(row[column]) for column in NAMES if column in row]
        name = _as_name(named[0]) if named else f"{number:08d}"
        pair = self._pair([row], 0, name, f"{row.get('__url__', 'streamed')} {name}")
        return swap(pair) if self.direction == "BtoA" and "input" in self.halves else pair

    def _pairs(self, table: Any, origin: str) -> list[Pair]:
        rows = self._with_bytes(table, origin)
        return [self._pair(rows, row, name, origin) for row, name in enumerate(self._names(table))]

    def _pair(self, rows: Any, row: int, name: str, origin: str) -> Pair:
        inputs, target = self._columns
        cells = [Cell(rows, row, column, origin) for column in inputs]
        return Pair(name, cells[0] if cells else None, Cell(rows, row, target, origin), tuple(cells[1:]))

    @property
    def _columns(self) -> tuple[Sequence[str], str]:
        """Of the inputs and of the target."""
        inputs = self.input_folder if isinstance(self.input_folder, tuple) else (self.input_folder or "",)
        return inputs if "input" in self.halves else (), self.target_folder or ""

    def _with_bytes(self, table: Any, origin: str) -> Any:
        """The columns that are used, images as they are stored."""
        from datasets import Image

        inputs, target = self._columns
        if missing := {*inputs, target} - {*(table.column_names or ())}:
            raise UserError(f"{origin} has no column {' or '.join(sorted(missing))}; it has {table.column_names}. "
                            "Name two of them: data.input_folder=… data.target_folder=…")  # fmt: skip
        used = {*inputs, target, *NAMES, "__url__"}
        table = table.select_columns([name for name in table.column_names if name in used])
        for column in {*inputs, target}:
            if isinstance(table.features[column], Image):
                table = table.cast_column(column, Image(decode=False))
        return table

    def _names(self, table: Any) -> list[str]:
        """Of each row a name of its own: in a column, by the target's file, or its number."""
        for column in NAMES:
            if column in table.column_names and _are_names(names := [_as_name(str(name)) for name in table[column]]):
                return names
        target = self._columns[1]
        try:
            paths = [path for part in table.data.column(target).chunks for path in part.field("path").to_pylist()]
        except (KeyError, AttributeError):  # its images are bytes without a path
            paths = []
        if _are_names(names := [_as_name(Path(path or "").stem) for path in paths]) and names:
            return names
        return [f"{row:08d}" for row in range(len(table))]


class HubImages(HubPairs):
    """Images in the rows of a data set, the targets; the datamodule computes the inputs."""

    needs = ("target_folder",)
    halves = ("target",)


def open_set(root: str, shards: Shards | None = None) -> Any:
    """A ``datasets.DatasetBuilder`` of a folder, an address or a name on the hub; only of some shards, if given.

    UserError if there is no such thing.
    """
    try:
        import datasets
    except ImportError as error:
        raise UserError(f"layout=hub needs pip install 'image_translation[hub]' ({error}).") from error
    datasets.logging.set_verbosity_error()
    if not console().is_terminal:
        datasets.disable_progress_bars()
    try:
        if "://" in root:
            shards = shards or find_shards(root)
            first = next(iter(shards.values()))[0]
            return datasets.load_dataset_builder(FORMATS[Path(first).suffix], data_files=shards)
        if Path(root).expanduser().is_dir():
            return datasets.load_dataset_builder(str(Path(root).expanduser()), data_files=shards)
        if not (match := ON_HUB.fullmatch(root)):
            raise UserError("there is no such folder, and no name on the hub looks like it (owner/name).")
        return datasets.load_dataset_builder(**match.groupdict(), data_files=shards)
    except Exception as error:
        raise unreadable(root, error) from error


def prepare(builder: Any, root: str) -> None:
    """Download what is not here yet. Where a connection breaks off it is tried again, and files that came are kept."""
    from aiohttp import ClientError

    for pause in (*PAUSES, None):
        try:
            builder.download_and_prepare()
            return
        except (OSError, ClientError) as error:
            if pause is None:
                raise unreadable(root, error) from error
            log.warning("%s Trying again in %g s.", unreadable(root, error), pause)
            time.sleep(pause)
        except Exception as error:  # of whatever reads its files
            raise unreadable(root, error) from error


def find_shards(root: str) -> Shards:
    """The files at an address, which may be a folder, a file or a pattern, by the split that their names contain.

    Folders below the one that all are in are a part of a name.
    """
    files, path = url_to_fs(root)
    found = sorted(files.find(path) if files.isdir(path) else files.glob(path))
    for suffix in FORMATS:
        names = [name for name in found if name.endswith(suffix)]
        above = len(os.path.commonpath([name.rpartition("/")[0] for name in names])) if names else 0
        shards: Shards = {}
        for name in names:
            words = [SPLIT_NAMES[w] for w in re.findall("[a-z]+", name[above:].lower()) if w in SPLIT_NAMES]
            shards.setdefault(words[-1] if words else "train", []).append(files.unstrip_protocol(name))
        if shards:
            return shards
    raise UserError(f"found no {' or '.join(FORMATS)} files.")


def shards_of(builder: Any, root: str) -> Shards:
    """The files of each split of a data set."""
    if not builder.config.data_files:
        raise UserError(f"data.root={root} can't be streamed now: its list of files is not known without a network.")
    return {SPLIT_NAMES.get(split, split): list(files) for split, files in builder.config.data_files.items()}


def hold_out(shards: Shards) -> Shards:
    """The same with val and test; those that are not stored are the last shards of train."""
    shards = {split: list(shards.get(split, [])) for split in SPLITS}
    for split in ("test", "val"):
        if not shards[split]:
            if len(shards["train"]) < 2 or Path(shards["train"][-1]).suffix not in FORMATS:
                raise UserError(f"data.streaming=true: nothing is stored for {split}, and train has no shard to spare. "
                                f"Store some pairs for {split}, or leave out data.streaming.")  # fmt: skip
            shards[split] = [shards["train"].pop()]
    return shards


def shard_sizes(shards: Sequence[str]) -> list[str]:
    """The name and the size of each shard, wherever the data set is."""
    lines = []
    for shard in shards:
        files, path = url_to_fs(shard)
        lines.append(f"{path.rpartition('/')[2]} {files.info(path)['size']}")
    return lines


def unreadable(root: str, error: Exception) -> UserError:
    """What went wrong with a data set, for its user."""
    text = str(error).strip().splitlines()
    return UserError(f"data.root={root} can't be read: {text[0] if text else type(error).__name__}")


def _as_name(text: str) -> str:
    """A name that files can have."""
    return re.sub(r"[/\\:]", "_", text).lstrip(".")[:MOST]


def _are_names(names: Sequence[str]) -> bool:
    return all(names) and len(set(names)) == len(names)
