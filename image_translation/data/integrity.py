"""The check that every training begins with: all images are decoded in full, and what can't be used is reported."""

import hashlib
import json
import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pooch
import simplejpeg

from image_translation.cli.errors import UserError
from image_translation.data.images import in_threads
from image_translation.data.kinds import PHOTOS, Kind, Stored, form_of, size_of
from image_translation.data.sources.base import File, Pair, PairSource, bullets
from image_translation.data.values import read
from image_translation.metrics.names import SSIM_WINDOW
from image_translation.runs.files import write_text

log = logging.getLogger(__name__)
MANY = 5000  # pairs
VERSION = 6  # of what is remembered; raise it when a check finds more, or the same files get other digests
# Digests of files and of the input's pixels; width and height; channels and type of each half.
Known = tuple[list[str], str | None, list[int], list[tuple[int, str]]]


@dataclass
class Decoded:
    """A pair's images in full size, ``input`` and ``target`` as far as they come from files, and what is wrong."""

    halves: dict[str, Stored] = field(default_factory=dict)
    digests: list[str] = field(default_factory=list)  # of the files' bytes
    problems: list[str] = field(default_factory=list)


def decode(pair: Pair, source: PairSource, background: str, kinds: Mapping[str, Kind] = PHOTOS) -> Decoded:
    """Read a pair, whose halves are of ``kinds``, and note everything that is wrong with its files."""
    found = Decoded()
    sizes: dict[File, tuple[int, int]] = {}

    def read_sound(path: File, half: str) -> Stored:
        content = path.read_bytes()
        found.digests.append(hashlib.sha256(content).hexdigest())
        image = read(content, path, kinds[half], background)
        _refuse_damaged_jpeg(content, path)
        sizes[path] = size_of(image)
        return image

    try:
        found.halves = source.open(pair, read_sound)
    except (OSError, UserError) as error:
        found.problems.append(str(error))
    if len({size_of(image) for image in found.halves.values()}) > 1:
        sides = [f"{path} is {width}×{height}" for path, (width, height) in sizes.items()]
        found.problems.append(f"halves of different size: {' but '.join(sides)}")
    return found


def _refuse_damaged_jpeg(content: bytes, path: File) -> None:
    """UserError for what libjpeg warns of. Pillow and torchvision hide it, and fill gaps with whatever comes out."""
    try:
        if content.startswith(b"\xff\xd8"):
            space = "CMYK" if simplejpeg.decode_jpeg_header(content)[2] in ("CMYK", "YCCK") else "GRAY"
            simplejpeg.decode_jpeg(content, space, fastdct=True, fastupsample=True)
    except ValueError as error:
        if str(error).startswith("Corrupt"):  # other errors come from rare kinds of JPEG that only Pillow decodes
            raise UserError(f"{path}: damaged ({error}). Get it again; if it looks intact, save it anew.") from error


def state_of(pair: Pair) -> str:
    """Paths, sizes and times of change of a pair's files; of those in a table their place in it."""
    if not isinstance(pair.target, Path):
        return "|".join(map(str, pair.files))
    stats = [(path, os.stat(path)) for path in map(str, pair.files)]  # noqa: PTH116 (of very many files)
    return "|".join(f"{path}|{stat.st_size}|{stat.st_mtime_ns}" for path, stat in stats)


def pixel_digest(image: Stored) -> str | None:
    """The same for two images of the same pixels, however they were saved; None for an image of one color only."""
    values = np.asarray(image)
    if (values == values[0, 0]).all():
        return None
    return hashlib.sha256(f"{size_of(image)}".encode() + values.tobytes()).hexdigest()


def check_images(
    splits: dict[str, list[Pair]],
    source: PairSource,
    root: Path | str,
    background: str,
    kinds: Mapping[str, Kind] = PHOTOS,
) -> tuple[str, int, dict[str, list[list[int]]], dict[str, set[tuple[int, str]]]]:
    """Decode every image in full, and report everything that is wrong at once, as a UserError that names each file.

    Return the fingerprint; how many inputs are in several splits, pixel for pixel, which is a warning; the width and
    height of each pair by split; and for each half the channels and types that its images have.

    Sound pairs are remembered in the user's cache folder, in one file for each root and layout, and not decoded again
    as long as their files keep their paths, sizes and times of change.
    """
    pairs = [(split, pair) for split, members in splits.items() for pair in members]
    options = vars(source), background, *kinds.values()
    place = repr((VERSION, str(Path(root).absolute()), type(source).__name__, *options)).encode()
    memory = pooch.os_cache("image_translation") / "checked" / f"{hashlib.sha256(place).hexdigest()[:16]}.json"
    known: dict[str, Known] = {}
    with suppress(OSError, ValueError):  # there is none yet, or it is damaged
        known = json.loads(memory.read_text(encoding="utf-8"))

    def examine(pair: Pair) -> tuple[Known, list[str]]:
        found = decode(pair, source, background, kinds)
        # Of the input, or the only half: several inputs may share a target, as masks do.
        first = next(iter(found.halves.values()), None)
        size = [] if first is None else list(size_of(first))
        forms = [form_of(image) for image in found.halves.values()]
        return (found.digests, None if first is None else pixel_digest(first), size, forms), found.problems

    keys = [state_of(pair) for _, pair in pairs]
    new = [number for number, key in enumerate(keys) if key not in known]
    if len(new) > MANY:
        log.info("Looking at %d pairs once; those that stay as they are will be known next time.", len(new))
    examined = in_threads(examine, [pairs[number][1] for number in new], "Checking images")
    looked = dict(zip(new, examined, strict=True))
    checked = [looked.get(number) or (known[key], []) for number, key in enumerate(keys)]
    sound = {key: facts for key, (facts, problems) in zip(keys, checked, strict=True) if not problems}
    if sound.keys() != known.keys():
        with suppress(OSError):  # a cache folder that is full or read-only costs time, no more
            memory.parent.mkdir(parents=True, exist_ok=True)
            write_text(memory, json.dumps(sound))
    if wrong := [problem for _, problems in checked for problem in problems]:
        raise UserError(f"{len(wrong)} of the images can't be used:{bullets(wrong)}\nFix or remove them.")

    digests, pixels, every, forms = zip(*(facts for facts, _ in checked), strict=True)
    same: dict[str, dict[str, str]] = defaultdict(dict)  # by the input's pixels one pair of each split
    for (split, pair), digest in zip(pairs, pixels, strict=True):
        if digest:
            same[digest].setdefault(split, f"{split}/{pair.name}")
    if leaks := [", ".join(group.values()) for group in same.values() if len(group) > 1]:
        log.warning(
            "%d of the inputs are in more than one split; scores on val or test will be too good. "
            "`python -m image_translation.check` with your options shows them.%s", len(leaks), bullets(leaks, 10),
        )  # fmt: skip
    sizes: dict[str, list[list[int]]] = {split: [] for split in splits}
    for (split, _), size in zip(pairs, every, strict=True):
        sizes[split].append(size)
    found = {half: {(channels, dtype) for channels, dtype in of_half}
             for half, of_half in zip(source.halves, zip(*forms, strict=True), strict=True)}  # fmt: skip
    return fingerprint(pairs, digests), len(leaks), sizes, found


def refuse_small(
    splits: Mapping[str, list[Pair]], sizes: Mapping[str, list[list[int]]], fitted: tuple[int, int] | None
) -> None:
    """UserError for an image that is too small for SSIM at its own size, or ``fitted`` into a height and width."""
    for split, pairs in splits.items():
        for pair, (width, height) in zip(pairs, sizes[split], strict=True):
            scale = min(fitted[0] / height, fitted[1] / width) if fitted else 1.0
            if (smaller := round(min(width, height) * scale)) < SSIM_WINDOW:
                raise UserError(f"{pair.target}: of {width}×{height} pixels, the smaller side would be tested at "
                                f"{smaller}; SSIM needs {SSIM_WINDOW}. Remove the pair, or set data.resize=crop or "
                                "stretch.")  # fmt: skip


def fingerprint(pairs: Iterable[tuple[str, Pair]], digests: Iterable[Sequence[str]]) -> str:
    """Of the split, the name and the files' digests of every pair, whatever their order and place."""
    lines = ["\0".join([split, pair.name, *own]) for (split, pair), own in zip(pairs, digests, strict=True)]
    return hashlib.sha256("\n".join(sorted(lines)).encode("utf-8", "replace")).hexdigest()
