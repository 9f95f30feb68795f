"""Which files are to be predicted, and where their outputs go."""

import logging
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from image_translation.cli.errors import UserError
from image_translation.data.kinds import RGB, Kind
from image_translation.data.sources.base import EXTENSIONS, bullets

log = logging.getLogger(__name__)
FORMATS: dict[str, tuple[str, dict[str, Any]]] = {  # by suffix: Pillow's name, and how it saves
    ".png": ("PNG", {"compress_level": 4}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".webp": ("WEBP", {"quality": 95}),
    ".tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".bmp": ("BMP", {}),
}
VIDEO = (".mp4", ".mov", ".mkv", ".webm")  # inference.video predicts them
DEEP = (".tif", ".tiff")  # hold whatever there is


@dataclass(frozen=True)
class Job:
    """A file to predict, and where its output goes."""

    source: Path
    target: Path
    more: tuple[Path, ...] = ()  # further inputs, which are joined to the first


def find_files(source: str, with_arrays: bool = False) -> list[tuple[Path, Path]]:
    """The images and videos that ``input`` names, each with its place in the output folder.

    Args:
        with_arrays: whether ``.npy`` files are images.
        source: a file; a folder, with all below it; a pattern such as ``photos/**/*.jpg``; or a ``.txt`` file
            that has a path in each line, relative to its own folder.

    Raises:
        UserError: there is none.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        root, found = path, sorted(path.rglob("*"))
    elif path.suffix == ".txt" and path.is_file():
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]  # Windows writes a mark
        files = [Path(os.path.abspath(path.parent / line)) for line in lines if line]  # noqa: PTH100 (keeps links)
        if not files:
            raise UserError(f"{path} names no file.")
        root = Path(os.path.commonpath([file.parent for file in files]))
        return [(file, file.relative_to(root)) for file in files]
    elif path.is_file():
        return [(path, Path(path.name))]
    else:
        above = next((i for i, part in enumerate(path.parts) if re.search(r"[*?\[]", part)), len(path.parts) - 1)
        root, pattern = Path(*path.parts[:above]), "/".join(path.parts[above:])
        found = sorted(root.glob(pattern or "*"))
    known = (*EXTENSIONS, *VIDEO, *([".npy"] if with_arrays else []))
    found = [file for file in found if not file.name.startswith(".")]
    images = [file for file in found if file.suffix.lower() in known]
    if not images:
        raise UserError(f"input={source}: no image there. It is a file, a folder, a pattern in quotes or a list.txt.")
    others = Counter(file.suffix or "others" for file in found if file.suffix.lower() not in known and file.is_file())
    if others:
        log.warning("Left out, of no known kind: %s", ", ".join(f"{count} {kind}" for kind, count in others.items()))
    return [(file, file.relative_to(root)) for file in images]


def find_further(source: str, places: Sequence[Path], with_arrays: bool) -> dict[Path, Path]:
    """The further inputs that belong to the first ones at these places: in another folder, of the same name."""
    there = {place.with_suffix(""): file for file, place in find_files(source, with_arrays)}
    if missing := [place for place in places if place.with_suffix("") not in there]:
        raise UserError(f"input: {source} has no partner of {missing[0]}.")
    return {place: there[place.with_suffix("")] for place in places}


def target_name(place: Path, form: str, kind: Kind = RGB) -> Path:
    """Where the output of a file goes: its own name, with another suffix if its own can't hold the output.

    UserError if the format can't.
    """
    if place.suffix.lower() in VIDEO:
        return place
    wanted = place if form == "same" else place.with_suffix(f".{form}")
    suffix = wanted.suffix.lower()
    holds = suffix in FORMATS if kind.name in ("rgb", "grey") else suffix == kind.suffix or suffix in DEEP
    if not holds and form != "same":
        raise UserError(f"format={form} can't hold what this model makes (data.target={kind.name}). format=tiff can, "
                        f"and format=same writes {kind.suffix} files, or TIFF for TIFF.")  # fmt: skip
    return wanted if holds else place.with_suffix(kind.suffix)


def plan(
    source: str | Sequence[str], output: Path, form: str, if_exists: str, kinds: tuple[Kind, Kind] = (RGB, RGB)
) -> list[Job]:
    """What is to be done for ``input=source`` and ``format=form`` from inputs and to outputs of ``kinds``.

    Raises:
        UserError: there is no image, two files would become one, one is there already and that is refused, an output
            would overwrite an input, or the output folder is in the input folder, where the next call would predict
            the outputs.
    """
    source, *others = [source] if isinstance(source, str) else source
    if len(others) + 1 != kinds[0].parts:
        raise UserError(f"The model joins {kinds[0].parts} images for an input: input=[first,second,…]")
    folder = Path(source).expanduser()
    if folder.is_dir() and output.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"output={output} is inside input={source}. Name a folder outside of it.")
    files = find_files(source, kinds[0].name == "raw")
    further = [find_further(other, [place for _, place in files], kinds[0].name == "raw") for other in others]
    jobs = [Job(file, output / target_name(place, form, kinds[1]), tuple(own[place] for own in further))
            for file, place in files]  # fmt: skip
    sources: dict[Path, list[Path]] = {}
    for job in jobs:
        sources.setdefault(job.target, []).append(job.source)
    double = [f"{target} of {' and '.join(map(str, names))}" for target, names in sources.items() if len(names) > 1]
    if double:
        raise UserError(f"Several files would become one:{bullets(double)}\nRename them, or use another format=…")
    inputs = {job.source.resolve() for job in jobs}
    if overwritten := [str(job.target) for job in jobs if job.target.resolve() in inputs]:
        raise UserError(f"Inputs would be overwritten:{bullets(overwritten)}\nName another folder: output=…")
    existing = {job.target for job in jobs if if_exists != "overwrite" and job.target.exists()}
    if existing and if_exists == "refuse":
        raise UserError(f"{len(existing)} of {len(jobs)} files exist in {output}, such as {min(existing)}. Name "
                        "another folder, or set if_exists=skip or if_exists=overwrite.")  # fmt: skip
    return [job for job in jobs if job.target not in existing]
