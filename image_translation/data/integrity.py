"""What every training begins with: all images are decoded in full, and what can't be used is reported at once."""

import hashlib
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import simplejpeg
from PIL import Image

from image_translation.cli.errors import UserError
from image_translation.data.images import BACKGROUND, open_image, read_image, split_halves
from image_translation.data.layout import Layout, Pair, listing
from image_translation.data.parallel import in_threads

JPEG = b"\xff\xd8"  # how every such file begins
Member = tuple[str, str]  # split, name


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


def decode(split: str, pair: Pair, layout: Layout, background: str = BACKGROUND) -> Decoded:
    """Read a pair, and note everything that is wrong with its files."""
    found = Decoded(split, pair)
    if any(unicodedata.category(character) in ("Cs", "Cc") for character in pair.name):
        # Bytes of another encoding show up as lone surrogates.
        found.problems.append(f"{pair.target!r}: the name is not valid UTF-8, or has control characters; rename it.")
    images = {}
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
    target = images[pair.target]
    if layout.kind == "aligned":
        if target.width % 2:
            found.problems.append(f"{pair.target}: {target.width} pixels wide, so it has no two equal halves.")
        found.halves = dict(zip(("input", "target"), split_halves(target, layout), strict=True))
    elif pair.input:
        found.halves = {"input": images[pair.input], "target": target}
    else:
        found.halves = {"target": target}
    if len({image.size for image in images.values()}) > 1:
        sides = [f"{path} is {image.width}×{image.height}" for path, image in images.items()]
        found.problems.append(f"halves of different size: {' but '.join(sides)}")
    return found


def _jpeg_damage(content: bytes) -> str | None:
    """What libjpeg warns of, which Pillow never tells: it fills holes in a file with whatever comes out."""
    if not content.startswith(JPEG):
        return None
    try:
        colors = simplejpeg.decode_jpeg_header(content)[2]
        inks = colors in ("CMYK", "YCCK")
        simplejpeg.decode_jpeg(content, "CMYK" if inks else "GRAY", fastdct=True, fastupsample=True)
    except ValueError as error:
        if str(error).startswith("Corrupt"):  # not a rare kind of JPEG that only Pillow decodes
            return f"damaged ({error}). Get it again; if it looks whole, save it anew."
    return None


def pixel_digest(image: Image.Image) -> str | None:
    """The same for two images of the same pixels, however they were saved; None for a image of one color only."""
    if all(low == high for low, high in image.getextrema()):  # type: ignore[misc]
        return None
    return hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()


def check_images(
    splits: dict[str, list[Pair]], layout: Layout, background: str = BACKGROUND
) -> tuple[str, list[list[Member]]]:
    """Decode every image in full, and report all that is wrong at once.

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
    for (split, pair), (found, line, digest) in zip(pairs, in_threads(examine, pairs, "Checking images"), strict=True):
        problems += found
        lines.append(line)
        if digest:
            same[digest].append((split, pair.name))
    if problems:
        raise UserError(f"{len(problems)} of the images can't be used:{listing(problems)}\nMend or remove them.")
    return fingerprint(lines), [group for group in same.values() if len({split for split, _ in group}) > 1]


def fingerprint(lines: Iterable[str]) -> str:
    """Of one line for each pair, in any order."""
    return hashlib.sha256("\n".join(sorted(lines)).encode("utf-8", "replace")).hexdigest()
