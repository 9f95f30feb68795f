"""Archives from a server: fetched, checked and unpacked."""

import errno
import logging
import lzma
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

from image_translation.cli.errors import UserError
from image_translation.data.places import cache_home
from image_translation.data.sources.base import EXTENSIONS, SPLITS
from image_translation.runs.files import read_json, write_json

TIMEOUT = 30  # seconds without an answer
pooch.get_logger().setLevel(logging.WARNING)


def fetch(archives: Mapping[str, Mapping[str, Any]], folder: Path, retries: int) -> None:
    """Fetch and unpack archives.

    Args:
        archives: ``url`` and ``sha256`` (or None) by name. What lies in one named ``all`` goes to ``folder`` as it is,
            without a folder around it; of any other one the images go to a sub-folder of its name.
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
            if name == "all":
                move_content(unpacked, folder, archive["url"])
            else:
                gather_images(unpacked, folder / name, archive["url"])
            remember(file, archive["url"])  # not before it has shown to be whole, and of images
            file.unlink()
            shutil.rmtree(unpacked, ignore_errors=True)


def download_file(url: str, sha256: str | None, folder: Path, retries: int) -> Path:
    """Fetch a file; without a published checksum the one that was recorded at its first download counts.

    Raises:
        UserError: it cannot be had, or is not what it was.
    """
    record = _record()
    expected = sha256 or _recorded(record).get(url)
    name = "archive"  # whatever the address ends with
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
    except ValueError as error:  # pooch's word for another checksum, and for a header that is none
        if "hash" not in str(error):
            raise UserError(f"{url} cannot be fetched: the server's headers are damaged ({error}).") from error
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
        UserError: it is damaged, or tries any of that, or is larger than the disk, or holds names that can't be here.
    """
    try:
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
            _read_end(archive)
    except tarfile.FilterError as error:
        raise UserError(f"{url}: refused, because it holds what no data set needs ({error}).") from error
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        if isinstance(error, OSError) and error.errno:
            if error.errno in (errno.ENOSPC, errno.EDQUOT) or not error.filename:
                raise
            name = Path(error.filename).name
            raise UserError(f"{url}: {name!r} in it cannot be unpacked ({error.strerror}).") from error
        raise UserError(f"{url}: not a whole tar archive. Try again.") from error


def _read_end(archive: tarfile.TarFile) -> None:
    """See that an archive ends as it should: tarfile takes a missing or damaged header for the end, too.

    Raises:
        tarfile.ReadError: after the last member comes something else than a block of zeros.
        EOFError, OSError, LZMAError: the compression's own checksum, at the very end, is missing or wrong.
    """
    stream: Any = archive.fileobj
    stream.seek(archive.offset)
    if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("no end-of-archive block")
    while stream.read(2**20):
        pass


def move_content(source: Path, folder: Path, url: str) -> None:
    """Move what lies in a folder, without folders that have nothing beside them.

    Raises:
        UserError: there are no images in it.
    """
    there = [source]
    while len(there) == 1 and there[0].is_dir() and there[0].name not in SPLITS:
        there = [path for path in there[0].iterdir() if not path.name.startswith(".")]
    moved = [path.rename(folder / path.name) for path in there]
    if not any(_is_image(path) for top in moved for path in (top, *top.rglob("*"))):
        raise UserError(f"{url}: holds no images.")


def gather_images(source: Path, folder: Path, url: str) -> None:
    """Move all images below a folder into one.

    Raises:
        UserError: two have one name, or there are none.
    """
    folder.mkdir()
    images = [path for path in sorted(source.rglob("*")) if _is_image(path)]
    for path in images:
        if (folder / path.name).exists():
            raise UserError(f"{url}: holds two images named {path.name}.")
        path.rename(folder / path.name)
    if not images:
        raise UserError(f"{url}: holds no images.")


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS and path.is_file()


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
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    reasons = (getattr(error, "reason", None), *error.args)
    inner = next((reason for reason in reasons if isinstance(reason, BaseException)), None)
    if inner is not None:
        return _cause(inner)
    return str(error).rpartition(": ")[2].rstrip(".") or type(error).__name__
