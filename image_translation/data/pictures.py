"""Reading picture files, and checking all of a data set before training."""

import hashlib
import io
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError
from rich.console import Console
from rich.progress import track

from image_translation.data.pairs import Layout, Pair, listing
from image_translation.errors import UserError

FITS = ("crop", "squash")


def read_picture(source: Path | bytes, name: object = None) -> Image.Image:
    """A file, or its bytes, as an upright 8-bit RGB picture, decoded in full.

    Raises:
        UserError: it is not a picture, or damaged, or has more than 8 bits a channel; the text names the file.
    """
    name = name or source
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as picture:
            return upright_rgb(picture, name)
    except UnidentifiedImageError as error:
        raise UserError(f"{name}: not a picture.") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{name}: cannot be decoded ({error}).") from error


def upright_rgb(picture: Image.Image, name: object) -> Image.Image:
    """A picture turned as its EXIF data say, in 8-bit RGB.

    Raises:
        UserError: it has more than 8 bits a channel.
    """
    if picture.mode.startswith(("I", "F")):
        raise UserError(f"{name}: mode {picture.mode} has more than 8 bits a channel; convert it to 8 bits.")
    return ImageOps.exif_transpose(picture).convert("RGB")


def fit_picture(picture: Image.Image, size: int, fit: str) -> Image.Image:
    """Make a picture ``size`` × ``size``: ``crop`` keeps its proportions and its centre, ``squash`` keeps all of it."""
    if picture.size == (size, size):
        return picture
    if fit == "crop":
        return ImageOps.fit(picture, (size, size), Image.Resampling.BICUBIC)
    return picture.resize((size, size), Image.Resampling.BICUBIC)


def split_halves(picture: Image.Image, layout: Layout) -> tuple[Image.Image, Image.Image]:
    """The input and target of an ``aligned`` picture: A is the left half, and the input unless ``direction=BtoA``."""
    middle = picture.width // 2
    left, right = picture.crop((0, 0, middle, picture.height)), picture.crop((middle, 0, picture.width, picture.height))
    return (left, right) if layout.direction == "AtoB" else (right, left)


def check_pictures(splits: dict[str, list[Pair]], layout: Layout) -> str:
    """Decode every picture in full, and report all that is wrong at once.

    Returns:
        A fingerprint of the data: of the content and the split of every pair, whatever their order and place.

    Raises:
        UserError: files that don't decode, or halves of different size; the text names each.
    """
    pairs = [(split, pair) for split, members in splits.items() for pair in members]

    def examine(item: tuple[str, Pair]) -> tuple[list[str], str]:
        split, pair = item
        problems: list[str] = []
        if not pair.name.isprintable():  # bytes of another encoding show up as lone surrogates
            problems.append(f"{pair.target!r}: the file name is not valid UTF-8; rename it.")
        sizes, digests = [], [split, pair.name]
        for path in dict.fromkeys(filter(None, (pair.input, pair.target))):
            try:
                content = path.read_bytes()
                digests.append(hashlib.sha256(content).hexdigest())
                sizes.append(read_picture(content, path).size)
            except OSError as error:
                problems.append(f"{path}: {error.strerror}.")
            except UserError as error:
                problems.append(str(error))
        if len(set(sizes)) > 1:
            sides = [f"{path} is {w}×{h}" for path, (w, h) in zip((pair.input, pair.target), sizes, strict=True)]
            problems.append(f"halves of different size: {' but '.join(sides)}")
        if layout.kind == "aligned" and sizes and sizes[0][0] % 2:
            problems.append(f"{pair.target}: {sizes[0][0]} pixels wide, so it has no two equal halves.")
        return problems, "\0".join(digests)

    def results() -> Iterator[tuple[list[str], str]]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes without holding the interpreter's lock
            quiet = not Console().is_terminal
            yield from track(
                pool.map(examine, pairs), "Checking pictures", total=len(pairs), transient=True, disable=quiet
            )

    examined = list(results())
    if problems := [problem for found, _ in examined for problem in found]:
        raise UserError(f"{len(problems)} of the pictures can't be used:{listing(problems)}\nMend or remove them.")
    return hashlib.sha256("\n".join(sorted(line for _, line in examined)).encode("utf-8", "replace")).hexdigest()
