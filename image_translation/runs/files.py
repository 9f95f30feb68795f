"""Files that are there whole or not at all, whatever happens while they are written."""

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from image_translation.cli.errors import UserError

LOCK, PATIENCE = ".lock", 6  # seconds: data-loading processes of a killed run hold its lock for up to five


@contextmanager
def file_lock(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder, on other machines too if they share it; UserError if one works there."""
    lock = FileLock((folder / LOCK).absolute(), timeout=PATIENCE)
    try:
        lock.acquire()
    except Timeout as error:
        raise UserError(f"{folder}: another process works there. Wait for it, or name another folder.") from error
    try:
        yield
    finally:
        lock.release()


def is_locked(folder: Path) -> bool:
    """Whether a process works in a folder."""
    try:
        with FileLock((folder / LOCK).absolute(), timeout=0):
            return False
    except Timeout:
        return True


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, which takes the place of ``path`` when it is complete and on the disk."""
    scratch = path.with_name(f".{path.name}.tmp")
    try:
        with scratch.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except BaseException as error:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)
        # A full disk doesn't say where; the temporary file's name tells a user nothing.
        if isinstance(error, OSError) and error.filename in (None, str(scratch)):
            error.filename = str(path)
        raise


def write_text(path: Path, text: str) -> None:
    with atomic_write(path) as file:
        file.write(text.encode("utf-8", errors="backslashreplace"))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """The content of a JSON file; OSError or ValueError if there is none."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """A CSV file with a header; values that a row lacks stay empty."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, buffer.getvalue())
