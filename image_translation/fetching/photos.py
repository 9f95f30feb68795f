"""Color photos from torchvision's data sets, by its own downloaders."""

import inspect
import shutil
import tempfile
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console
from rich.progress import track
from torchvision import datasets

from image_translation.cli.errors import UserError, nearest
from image_translation.data.sources.base import EXTENSIONS

# What torchvision calls a split → what we call it.
SPLITS = {"train": "train", "trainval": "train", "val": "val", "valid": "val", "test": "test"}
# Where its data sets keep their images' paths.
PATHS = ("_image_files", "_images", "_image_paths", "_samples", "samples", "imgs", "images")


def export(name: str, folder: Path) -> None:
    """Fetch ``torchvision.datasets.<name>`` and put its images into ``folder``, by split as far as it has any.

    Raises:
        UserError: there is no such data set, it can't be downloaded, or it is not one of images.
    """
    known = [key for key, value in vars(datasets).items() if inspect.isclass(value) and _is_downloadable(value)]
    if name not in known:
        raise UserError(
            f"name=torchvision.{name} is none of those it can fetch: {', '.join(known)}.{nearest(name, known)}"
        )
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as scratch:
        try:
            for split, dataset in _splits(getattr(datasets, name), Path(scratch)):
                _save(dataset, folder / split, name)
        except (urllib.error.URLError, RuntimeError, ConnectionError, EOFError) as error:
            raise UserError(f"torchvision.{name} cannot be fetched ({error}). Try again.") from error
    if not any(folder.iterdir()):
        raise UserError(f"torchvision.{name} has no split that is known here: {', '.join(SPLITS)}.")


def _is_downloadable(kind: type) -> bool:
    return "download" in inspect.signature(kind).parameters


def _splits(kind: Any, root: Path) -> Iterator[tuple[str, Any]]:
    """Our name of each split, and the data set."""
    parameters = inspect.signature(kind).parameters
    if "split" in parameters:
        taken = set()
        for theirs, ours in SPLITS.items():
            if ours in taken:  # trainval, where there is train
                continue
            try:
                dataset = kind(root, split=theirs, download=True)
            except ValueError:  # it has no such split
                continue
            taken.add(ours)
            yield ours, dataset
    elif "train" in parameters:
        for ours in ("train", "test"):
            yield ours, kind(root, train=ours == "train", download=True)
    else:
        yield "", kind(root, download=True)


def _save(dataset: Any, folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    files = next((there for key in PATHS if _are_paths(there := getattr(dataset, key, None))), None)
    quiet = not Console().is_terminal
    for index in track(range(len(dataset)), f"Saving {folder.name}", transient=True, disable=quiet):
        if files:
            path = Path(files[index][0] if isinstance(files[index], tuple) else files[index])
            if path.suffix.lower() in EXTENSIONS:
                shutil.copy(path, folder / f"{index:06}{path.suffix}")
                continue
        image = dataset[index][0]
        if not isinstance(image, Image.Image):
            raise UserError(f"torchvision.{name} is not a set of images.")
        image.convert("RGB").save(folder / f"{index:06}.png")


def _are_paths(items: Any) -> bool:
    if not isinstance(items, list) or not items:
        return False
    first = items[0][0] if isinstance(items[0], tuple) else items[0]
    return isinstance(first, str | Path) and Path(first).is_file()
