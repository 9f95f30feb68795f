"""What a pair is, and how pairs lie on disk."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from image_translation.cli.errors import UserError, one_of

SPLITS = ("train", "val", "test")
LAYOUTS = ("folders", "aligned", "derived", "table")
DIRECTIONS = ("AtoB", "BtoA")
EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif"})


@dataclass(frozen=True, slots=True)
class Pair:
    """One pair. ``input`` is the same file as ``target`` in the layout ``aligned``, and None in ``derived``."""

    name: str
    input: Path | None
    target: Path

    @property
    def files(self) -> list[Path]:
        """The files it is made of, one or two."""
        return list(dict.fromkeys(path for path in (self.input, self.target) if path))


@dataclass(frozen=True, slots=True)
class Layout:
    """How pairs lie on disk; see the module ``datamodule`` for what the fields mean."""

    kind: str = "folders"
    input_folder: str | None = None
    target_folder: str | None = None
    direction: str = "AtoB"
    table: str | None = None

    def __post_init__(self) -> None:
        one_of("data.layout", self.kind, LAYOUTS)
        one_of("data.direction", self.direction, DIRECTIONS)
        if self.kind == "folders" and not (self.input_folder and self.target_folder):
            raise UserError(
                "data.layout=folders needs the names of two folders: data.input_folder, data.target_folder."
            )
        if self.kind == "table" and not self.table:
            raise UserError("data.layout=table needs a CSV file with columns input and target: data.table=pairs.csv.")

    @property
    def folders(self) -> list[str]:
        """The folders that a split consists of: inputs then targets, or one; "" stands for the split's own folder."""
        if self.kind != "folders":
            return [self.target_folder or ""]
        folders = [self.input_folder or "", self.target_folder or ""]
        return folders if self.direction == "AtoB" else folders[::-1]


@dataclass(frozen=True, slots=True)
class PairingError:
    """Something that keeps files from being a pair."""

    kind: str  # a key of PAIRING_ERRORS
    text: str  # what was found
    files: tuple[Path, ...] = ()


# What is said before the list of a kind's troubles, and after it.
PAIRING_ERRORS = {
    "broken link": ("Links that lead to no file:", "Mend or remove them."),
    "double stem": (
        "A pair shares the stem of its file name, so a stem can stand in a folder only once.",
        "Rename or remove all but one of each.",
    ),
    "orphan": ("Images without a partner of the same stem:", "Add the partner or move the image away."),
    "half a split": ("Folders without their partner:", "Add the folder or move the other one away."),
    "table": ("Rows of the table that can't be used:", "Mend or remove them."),
}


def listing(lines: Iterable[str], most: int = 50) -> str:
    """Lines as a bulleted list that says how many it leaves out."""
    lines = list(lines)
    shown = "".join(f"\n  - {line}" for line in lines[:most])
    return shown + (f"\n  … and {len(lines) - most} more" if len(lines) > most else "")
