"""The check that every training begins with: all images are decoded in full, and what can't be used is reported."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import simplejpeg
from filelock import FileLock
from PIL import Image

from image_translation.cli.errors import UserError
from image_translation.data.images import BACKGROUND, open_image, read_image
from image_translation.data.pairs import bullets
from image_translation.data.parallel import in_threads
from image_translation.data.places import cache_home
from image_translation.data.sources.base import SPLITS, Pair, PairSource
from image_translation.runs.files import write_text

VERSION = 1  # of what is remembered; raise it when a check finds more, or the same files get other digests
Member = tuple[str, str]  # split, name
Digests = tuple[list[str], str | None]  # of the files' bytes, and of the input's pixels


@dataclass
class Decoded:
    """One pair's images in full size, ``input`` and ``target`` as far as they come from files."""

    split: str
    pair: Pair
    halves: dict[str, Image.Image] = field(default_factory=dict)
    digests: list[str] = field(default_factory=list)  # of the files' bytes
    kinds: list[str] = field(default_factory=list)  # of the files: format and mode
    problems: list[str] = field(default_factory=list)

    @property
    def line(self) -> str:
        """The pair's part of the fingerprint."""
        return "\0".join([self.split, self.pair.name, *self.digests])


def decode(split: str, pair: Pair, source: PairSource, background: str = BACKGROUND) -> Decoded:
    """Read a pair, and note everything that is wrong with its files."""
    found, images = Decoded(split, pair), {}
    for path in pair.files:
        try:
            content = path.read_bytes()
            found.digests.append(hashlib.sha256(content).hexdigest())
            images[path] = read_image(content, path, background)
            with open_image(content) as file:
                found.kinds.append(f"{file.format} {file.mode}")
            if damage := _jpeg_damage(content):
                found.problems.append(f"{path}: {damage}")
        except OSError as error:
            found.problems.append(f"{path}: {error.strerror}.")
        except UserError as error:
            found.problems.append(str(error))
    if len(images) < len(pair.files):
        return found
    try:
        found.halves = source.open(pair, images.__getitem__)
    except UserError as error:
        found.problems.append(str(error))
    if len({image.size for image in images.values()}) > 1:
        sides = [f"{path} is {image.width}×{image.height}" for path, image in images.items()]
        found.problems.append(f"halves of different size: {' but '.join(sides)}")
    return found


def _jpeg_damage(content: bytes) -> str | None:
    """What libjpeg warns of. Pillow and torchvision hide it, and fill gaps in a file with whatever comes out."""
    if not content.startswith(b"\xff\xd8"):
        return None
    try:
        colors = simplejpeg.decode_jpeg_header(content)[2]
        space = "CMYK" if colors in ("CMYK", "YCCK") else "GRAY"
        simplejpeg.decode_jpeg(content, space, fastdct=True, fastupsample=True)
    except ValueError as error:
        if str(error).startswith("Corrupt"):  # other errors come from rare kinds of JPEG that only Pillow decodes
            return f"damaged ({error}). Get it again; if it looks intact, save it anew."
    return None


def pixel_digest(image: Image.Image) -> str | None:
    """The same for two images of the same pixels, however they were saved; None for an image of one color only."""
    if all(low == high for low, high in image.getextrema()):  # type: ignore[misc]
        return None
    return hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()


def check_images(
    splits: dict[str, list[Pair]], source: PairSource, root: Path, background: str = BACKGROUND
) -> tuple[str, list[list[Member]]]:
    """Decode every image in full, and report everything that is wrong at once.

    Sound pairs are remembered in the user's cache folder, in one file for each root and layout, and not decoded again
    as long as their files keep their paths, sizes and times of change.

    Returns:
        A fingerprint of the data: of the content and the split of every pair, whatever their order and place; and
        the groups of pairs in several splits whose inputs have the same pixels.

    Raises:
        UserError: files that don't decode, or halves of different size; the text names each.
    """
    pairs = [(split, pair) for split, members in splits.items() for pair in members]
    place = repr((VERSION, str(root.absolute()), type(source).__name__, vars(source), background))
    memory = cache_home() / "checked" / f"{hashlib.sha256(place.encode()).hexdigest()[:16]}.json"
    try:
        known: dict[str, Digests] = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # there is none yet, or it is damaged
        known = {}

    def examine(item: tuple[str, Pair]) -> tuple[str, Digests, list[str]]:
        stats = [(str(path.absolute()), path.stat()) for path in item[1].files]
        key = json.dumps([(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats])
        if key in known:
            return key, known[key], []
        found = decode(*item, source, background)
        # Of the input, or the only half: several inputs may share a target, as masks do.
        return key, (found.digests, next(map(pixel_digest, found.halves.values()), None)), found.problems

    sound: dict[str, Digests] = {}
    problems, lines = [], []
    same: dict[str, list[Member]] = defaultdict(list)
    for (split, pair), found in zip(pairs, in_threads(examine, pairs, "Checking images"), strict=True):
        key, (digests, pixels), wrong = found
        problems += wrong
        lines.append(Decoded(split, pair, digests=digests).line)
        if not wrong:
            sound[key] = digests, pixels
        if pixels:
            same[pixels].append((split, pair.name))
    if sound.keys() != known.keys():
        with suppress(OSError):  # a cache folder that is full or read-only costs time, no more
            memory.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(memory.with_suffix(".lock")):
                write_text(memory, json.dumps(sound))
    if problems:
        raise UserError(f"{len(problems)} of the images can't be used:{bullets(problems)}\nFix or remove them.")
    return fingerprint(lines), [group for group in same.values() if len({split for split, _ in group}) > 1]


def fingerprint(lines: Iterable[str]) -> str:
    """Of one line for each pair, in any order."""
    return hashlib.sha256("\n".join(sorted(lines)).encode("utf-8", "replace")).hexdigest()


def describe_leaks(leaks: list[list[Member]]) -> str:
    """A warning of inputs that are in several splits."""
    splits = sorted({split for group in leaks for split, _ in group}, key=SPLITS.index)
    where = f"both {splits[0]} and {splits[1]}" if len(splits) == 2 else "more than one split"
    found = f"{len(leaks)} {'input is' if len(leaks) == 1 else 'inputs are'} in {where}"
    lines = bullets((", ".join(f"{split}/{name}" for split, name in group) for group in leaks), 10)
    advice = "`python -m image_translation.check` with your options shows them."
    return f"{found}; {' and '.join(splits[1:])} scores will be too good. {advice}{lines}"
