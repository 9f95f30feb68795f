"""Archives from a server: fetched, checked and unpacked."""

import gzip
import logging
import shutil
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pooch
import requests
from rich.console import Console
from rich.progress import track

from image_translation.data.layout import EXTENSIONS, SPLITS
from image_translation.data.places import cache_home
from image_translation.errors import UserError
from image_translation.files import read_json, write_json

TIMEOUT = 30  # seconds without an answer
pooch.get_logger().setLevel(logging.WARNING)


def fetch(archives: Mapping[str, Mapping[str, Any]], folder: Path, retries: int) -> None:
    """Fetch and unpack archives.

    Args:
        archives: ``url`` and ``sha256`` (or None) by name. What lies in one named ``all`` goes to ``folder`` as it is,
            without a folder around it; of any other one the pictures go to a sub-folder of its name.
        folder: empty.
        retries: how often a failed download is tried again.

    Raises:
        UserError: the server, the checksum or the archive is at fault; the text has the address.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as scratch:
        for name, archive in archives.items():
            file = download_file(archive["url"], archive["sha256"], Path(scratch), retries)
            unpacked = Path(scratch) / "unpacked"
            unpack(file, unpacked, archive["url"])
            remember(file, archive["url"])  # not before it has shown to be whole
            file.unlink()
            if name == "all":
                move_content(unpacked, folder)
            else:
                gather_pictures(unpacked, folder / name, archive["url"])
            shutil.rmtree(unpacked, ignore_errors=True)


def download_file(url: str, sha256: str | None, folder: Path, retries: int) -> Path:
    """Fetch a file; without a published checksum the one that was recorded at its first download counts.

    Raises:
        UserError: it cannot be had, or is not what it was.
    """
    record = _record()
    expected = sha256 or _recorded(record).get(url)
    name = url.rpartition("/")[2]
    fetcher = pooch.create(folder, base_url="", registry={name: expected and f"sha256:{expected}"}, urls={name: url},
                           retry_if_failed=retries)  # fmt: skip
    loader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=2**18, timeout=TIMEOUT)
    print(f"Fetching {url}")
    try:
        path = Path(fetcher.fetch(name, downloader=loader))
    except requests.HTTPError as error:
        answer = error.response
        said = f"{answer.status_code} {answer.reason}" if answer is not None else str(error)
        raise UserError(f"{url}: the server answers {said}.") from error
    except requests.RequestException as error:
        raise UserError(f"{url} cannot be fetched ({_cause(error)}). Try again.") from error
    except ValueError as error:  # pooch's word for another checksum
        by = "published" if sha256 else f"recorded at the first download ({record})"
        raise UserError(f"{url}: its checksum is not the one {by}, so it was damaged or exchanged.") from error
    return path


def remember(file: Path, url: str) -> None:
    """Record a file's checksum, if it is the first one from there."""
    recorded = _recorded(_record())
    if url not in recorded:
        _record().parent.mkdir(parents=True, exist_ok=True)
        write_json(_record(), recorded | {url: pooch.file_hash(str(file))})


def unpack(file: Path, folder: Path, url: str) -> None:
    """Unpack a tar archive by Python's ``data`` filter: nothing outside the folder, no links out, no devices.

    Raises:
        UserError: it is damaged, or tries any of that, or is larger than the disk.
    """
    try:
        with file.open("rb") as start:
            is_gzip = start.read(2) == b"\x1f\x8b"
        if is_gzip:
            with gzip.open(file) as stream:  # to its end, where its checksum is: tarfile stops before
                while stream.read(2**20):
                    pass
        with tarfile.open(file) as archive:
            members = archive.getmembers()
            needed, free = sum(member.size for member in members), shutil.disk_usage(file.parent).free
            if needed > free:
                raise UserError(
                    f"{url}: unpacked it takes {needed / 2**20:,.0f} MiB, and {free / 2**20:,.0f} are free."
                )
            folder.mkdir()
            for member in track(members, "Unpacking", transient=True, disable=not Console().is_terminal):
                archive.extract(member, folder, filter="data")
    except tarfile.FilterError as error:
        raise UserError(f"{url}: refused, because it holds what no data set needs ({error}).") from error
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise UserError(f"{url}: not a whole tar archive. Try again.") from error


def move_content(source: Path, folder: Path) -> None:
    """Move what lies in a folder, without folders that have nothing beside them."""
    there = [source]
    while len(there) == 1 and there[0].is_dir() and there[0].name not in SPLITS:
        there = [path for path in there[0].iterdir() if not path.name.startswith(".")]
    for path in there:
        path.rename(folder / path.name)


def gather_pictures(source: Path, folder: Path, url: str) -> None:
    """Move all pictures below a folder into one.

    Raises:
        UserError: two have one name, or there are none.
    """
    folder.mkdir()
    pictures = [path for path in sorted(source.rglob("*")) if path.suffix.lower() in EXTENSIONS and path.is_file()]
    for path in pictures:
        if (folder / path.name).exists():
            raise UserError(f"{url}: holds two pictures named {path.name}.")
        path.rename(folder / path.name)
    if not pictures:
        raise UserError(f"{url}: holds no pictures.")


def _record() -> Path:
    return cache_home() / "downloads.json"


def _recorded(record: Path) -> dict[str, str]:
    try:
        found = read_json(record)
    except (OSError, ValueError):  # there is none, or it is damaged: what is fetched next counts as the first
        return {}
    return found if isinstance(found, dict) else {}


def _cause(error: BaseException) -> str:
    """The innermost reason, which is the shortest."""
    while error.args and isinstance(error.args[0], BaseException):
        error = error.args[0]
    reason = getattr(error, "reason", None)
    return str(reason or error).rpartition(": ")[2] or type(error).__name__
