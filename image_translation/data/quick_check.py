"""What every training begins with: all pictures are decoded in full, and what can't be used is reported at once."""

import hashlib
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import simplejpeg
from PIL import Image

from image_translation.data.layout import Layout, Pair, listing
from image_translation.data.parallel import in_threads
from image_translation.data.pictures import BACKGROUND, open_picture, read_picture, split_halves
from image_translation.errors import UserError

JPEG = b"\xff\xd8"  # how every such file begins
Member = tuple[str, str]  # split, name


@dataclass
class Decoded:
    """One pair's pictures in full size, ``input`` and ``target`` as far as they come from files."""

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


def decode(split: str, pair: Pair, layout: Layout, background: str = BACKGROUND) -> Decoded:
    """Read a pair, and note everything that is wrong with its files."""
    found = Decoded(split, pair)
    if any(unicodedata.category(character) in ("Cs", "Cc") for character in pair.name):
        # Bytes of another encoding show up as lone surrogates.
        found.problems.append(f"{pair.target!r}: the name is not valid UTF-8, or has control characters; rename it.")
    pictures = {}
    for path in pair.files:
        try:
            content = path.read_bytes()
            found.digests.append(hashlib.sha256(content).hexdigest())
            pictures[path] = read_picture(content, path, background)
            with open_picture(content) as file:
                found.kinds.append(f"{file.format} {file.mode}")
            if damage := _jpeg_damage(content):
                found.problems.append(f"{path}: {damage}")
        except OSError as error:
            found.problems.append(f"{path}: {error.strerror}.")
        except UserError as error:
            found.problems.append(str(error))
    if len(pictures) < len(pair.files):
        return found
    target = pictures[pair.target]
    if layout.kind == "aligned":
        if target.width % 2:
            found.problems.append(f"{pair.target}: {target.width} pixels wide, so it has no two equal halves.")
        found.halves = dict(zip(("input", "target"), split_halves(target, layout), strict=True))
    elif pair.input:
        found.halves = {"input": pictures[pair.input], "target": target}
    else:
        found.halves = {"target": target}
    if len({picture.size for picture in pictures.values()}) > 1:
        sides = [f"{path} is {picture.width}×{picture.height}" for path, picture in pictures.items()]
        found.problems.append(f"halves of different size: {' but '.join(sides)}")
    return found


def _jpeg_damage(content: bytes) -> str | None:
    """What libjpeg warns of, which Pillow never tells: it fills holes in a file with whatever comes out."""
    if not content.startswith(JPEG):
        return None
    try:
        colours = simplejpeg.decode_jpeg_header(content)[2]
        inks = colours in ("CMYK", "YCCK")
        simplejpeg.decode_jpeg(content, "CMYK" if inks else "GRAY", fastdct=True, fastupsample=True)
    except ValueError as error:
        if str(error).startswith("Corrupt"):  # not a rare kind of JPEG that only Pillow decodes
            return f"damaged ({error}). Get it again; if it looks whole, save it anew."
    return None


def pixel_digest(picture: Image.Image) -> str | None:
    """The same for two pictures of the same pixels, however they were saved; None for a picture of one colour only."""
    if all(low == high for low, high in picture.getextrema()):  # type: ignore[misc]
        return None
    return hashlib.sha256(f"{picture.size}".encode() + picture.tobytes()).hexdigest()


def check_pictures(
    splits: dict[str, list[Pair]], layout: Layout, background: str = BACKGROUND
) -> tuple[str, list[list[Member]]]:
    """Decode every picture in full, and report all that is wrong at once.

    Returns:
        A fingerprint of the data: of the content and the split of every pair, whatever their order and place; and
        the inputs that stand in two splits, pixel for pixel.

    Raises:
        UserError: files that don't decode, or halves of different size; the text names each.
    """
    pairs = [(split, pair) for split, members in splits.items() for pair in members]

    def examine(item: tuple[str, Pair]) -> tuple[list[str], str, str | None]:
        found = decode(*item, layout, background)
        # Of the input, or the only half: one target of many inputs may be meant so, as masks are.
        return found.problems, found.line, next(map(pixel_digest, found.halves.values()), None)

    problems, lines = [], []
    same: dict[str, list[Member]] = defaultdict(list)
    for (split, pair), (found, line, digest) in zip(
        pairs, in_threads(examine, pairs, "Checking pictures"), strict=True
    ):
        problems += found
        lines.append(line)
        if digest:
            same[digest].append((split, pair.name))
    if problems:
        raise UserError(f"{len(problems)} of the pictures can't be used:{listing(problems)}\nMend or remove them.")
    return fingerprint(lines), [group for group in same.values() if len({split for split, _ in group}) > 1]


def fingerprint(lines: Iterable[str]) -> str:
    """Of one line for each pair, in any order."""
    return hashlib.sha256("\n".join(sorted(lines)).encode("utf-8", "replace")).hexdigest()
