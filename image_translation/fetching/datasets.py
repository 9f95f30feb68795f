"""Datasets of images: archives on a server, and torchvision's."""

import inspect
import os
import shutil
import sys
import tarfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pooch
from rich.progress import track

from image_translation.cli.console import console
from image_translation.cli.errors import UserError, one_of
from image_translation.data.sources.base import EXTENSIONS

SPLITS = {"train": "train", "trainval": "train", "val": "val", "valid": "val", "test": "test"}  # torchvision's → ours


def fetch_archives(archives: Mapping[str, Any], retries: int, folder: Path) -> None:
    """Download tar archives, ``{name: {"url": …, "sha256": … or None}}``, and unpack their images.

    They go to the sub-folder ``name``, or for the name ``all`` to ``folder`` itself. UserError if the download failed
    ``1 + retries`` times, or the archive is damaged, unsafe or without images.
    """
    downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=2**18)
    for name, archive in archives.items():
        url, known = archive["url"], {"archive": archive["sha256"]}
        with TemporaryDirectory(dir=folder) as scratch:
            store = pooch.create(scratch, "", registry=known, urls={"archive": url}, retry_if_failed=retries)
            try:
                unpack(store.fetch("archive", downloader=downloader), folder / name if name != "all" else folder)
            except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error) as error:
                raise UserError(f"{url}: {error}") from error


def unpack(file: str, folder: Path) -> None:
    """Unpack the images of a tar archive, with their sub-folders from their common folder on.

    Not by pooch.Untar: on Python 3.11 it does not use the filter that keeps files inside the folder.
    """
    with tarfile.open(file) as tar:
        images = [member for member in tar if Path(member.name).suffix.lower() in EXTENSIONS]
        if not images:
            raise ValueError("the archive holds no images")
        common = os.path.commonpath([Path(image.name).parent for image in images])
        for image in track(images, "Unpacking", transient=True, console=console()):
            tar.extract(image.replace(name=os.path.relpath(image.name, common)), folder, filter="data")


def fetch_torchvision(name: str, folder: Path) -> None:
    """Download ``torchvision.datasets.<name>`` and save its images, by split if it has splits.

    UserError if there is no such dataset, it cannot be downloaded, or it is not one of images.
    """
    from torchvision import datasets

    dataset_class = getattr(datasets, one_of("name=torchvision.<class>", name, datasets.__all__))
    parameters = inspect.signature(dataset_class).parameters
    options = {"download": True} | ({"loader": Path} if "loader" in parameters else {})  # paths instead of images
    parts: dict[str, Any] = {}
    with TemporaryDirectory(dir=folder) as scratch:
        try:
            for theirs, ours in SPLITS.items() if "split" in parameters else ():
                with suppress(ValueError):  # it has no such split
                    parts.setdefault(ours, dataset_class(scratch, split=theirs, **options))
            for split, dataset in (parts or {"": dataset_class(scratch, **options)}).items():
                save(dataset, folder / split)
        except (OSError, RuntimeError, EOFError, TypeError, AttributeError) as error:
            raise UserError(f"torchvision.{name}: {error}") from error


def save(dataset: Any, folder: Path) -> None:
    """Save the images of a dataset by number; where it gives their paths, by copying the files."""
    folder.mkdir(exist_ok=True)
    for index in track(range(len(dataset)), f"Saving {folder.name}", transient=True, console=console()):
        image, path = dataset[index][0], folder / f"{index:06}"
        if isinstance(image, Path):
            shutil.copy(image, path.with_suffix(image.suffix))
        else:
            image.convert("RGB").save(path.with_suffix(".png"))
