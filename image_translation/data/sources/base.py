"""What a pair is, and what a way of storing pairs has to offer."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from PIL import Image

from image_translation.cli.errors import UserError, one_of
from image_translation.data.images import read_image

SPLITS = ("train", "val", "test")
EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif"})


@dataclass(frozen=True, slots=True)
class Pair:
    """The files of one pair: the same one twice if it holds both halves, None for a half that has no file."""

    name: str
    input: Path | None
    target: Path | None

    @property
    def files(self) -> list[Path]:
        """One or two files."""
        return list(dict.fromkeys(path for path in (self.input, self.target) if path))


@dataclass(frozen=True, slots=True)
class PairingError:
    """Something that keeps files from being a pair."""

    kind: str  # a key of PAIRING_ERRORS
    text: str  # what was found
    files: tuple[Path, ...] = ()


# For each kind of error: a heading, and what to do.
PAIRING_ERRORS = {
    "broken link": ("Links to files that do not exist:", "Fix or remove them."),
    "double stem": ("Images of one folder with the same stem:", "Rename or remove all but one of each."),
    "orphan": ("Images without a partner of the same stem:", "Add the partner or move the image away."),
    "half a split": ("Folders without their partner:", "Add the folder or move the other one away."),
    "table": ("Rows of the table that can't be used:", "Fix or remove them."),
}
Found = tuple[dict[str, list[Pair]], list[PairingError]]


@dataclass
class PairSource(ABC):
    """A way of storing pairs: which there are, and how one is opened. The arguments are those of the datamodule."""

    input_folder: str | None = None
    target_folder: str | None = None
    table: str | None = None
    direction: str = "AtoB"

    needs: ClassVar[tuple[str, ...]] = ()  # arguments that must be set
    halves: ClassVar[tuple[str, ...]] = ("input", "target")  # that are read from files
    split_unit: ClassVar[str] = "folder"  # what a split is stored as, for messages

    def __post_init__(self) -> None:
        one_of("direction", self.direction, ("AtoB", "BtoA"))
        if not all(getattr(self, name) for name in self.needs):
            raise UserError(f"{' and '.join(self.needs)} must be set for this layout.")

    @abstractmethod
    def scan(self, root: Path) -> Found:
        """The pairs of each split that is stored, ordered by name, and what keeps other files from being pairs.

        If nothing says which split they belong to, all are in train.

        Raises:
            UserError: there is nothing at all.
        """

    def open(self, pair: Pair, read: Callable[[Path], Image.Image] = read_image) -> dict[str, Image.Image]:
        """The images of a pair, ``input`` and ``target`` as far as they come from files; ``read`` reads a file."""
        return {half: read(path) for half, path in (("input", pair.input), ("target", pair.target)) if path}
