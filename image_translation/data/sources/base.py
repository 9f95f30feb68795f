"""What a pair is, and what a way of storing pairs has to offer."""

import hashlib
import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

from image_translation.cli.errors import UserError, one_of
from image_translation.data.kinds import Stored
from image_translation.data.values import join

log = logging.getLogger(__name__)
SPLITS = ("train", "val", "test")
EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif"})
# For each kind of error: a heading, and what to do.
PAIRING_ERRORS = {
    "broken link": ("Links to files that do not exist:", "Fix or remove them."),
    "double stem": ("Images of one folder with the same stem:", "Rename or remove all but one of each."),
    "orphan": ("Images without a partner of the same stem:", "Add the partner or move the image away."),
    "half a split": ("Folders without their partner:", "Add the folder or move the other one away."),
    "table": ("Rows of the table that can't be used:", "Fix or remove them."),
}


class File(Protocol):
    """Where an image is stored, whose ``str`` a message can name: a path, or a cell of a table (``sources.hub``)."""

    def read_bytes(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Pair:
    """The files of one pair: the same one twice if it holds both halves, None for a half that has no file."""

    name: str
    input: File | None
    target: File | None
    more: tuple[File, ...] = ()  # further inputs, which are joined to the first

    @property
    def files(self) -> list[File]:
        return list(dict.fromkeys(path for path in (self.input, *self.more, self.target) if path))


@dataclass(frozen=True, slots=True)
class PairingError:
    """Something that keeps files from being a pair."""

    kind: str  # a key of PAIRING_ERRORS
    text: str  # what was found
    files: tuple[File, ...] = ()


Found = tuple[dict[str, list[Pair]], list[PairingError]]


@dataclass
class PairSource(ABC):
    """A way of storing pairs: which there are, and how one is opened. The arguments are those of the datamodule."""

    input_folder: str | tuple[str, ...] | None = None
    target_folder: str | None = None
    table: str | None = None
    direction: str = "AtoB"
    input_suffix: str = ""
    target_suffix: str = ""
    streaming: bool = False  # whether the training pairs are read while training
    with_arrays: bool = False  # whether .npy files are images

    needs: ClassVar[tuple[str, ...]] = ()  # arguments that must be set
    halves: ClassVar[tuple[str, ...]] = ("input", "target")  # that are read from files
    is_apart: ClassVar[bool] = True  # whether each half is an image of its own
    is_remote: ClassVar[bool] = False  # whether a root may be more than a folder on this machine

    def __post_init__(self) -> None:
        one_of("direction", self.direction, ("AtoB", "BtoA"))
        one_of("streaming", self.streaming, (True, False))
        if not all(getattr(self, name) for name in self.needs):
            raise UserError(f"{' and '.join(self.needs)} must be set for this layout.")
        if self.parts > 1 and (self.direction == "BtoA" or "input_folder" not in self.needs):
            raise UserError("Several inputs go with layout=folders or hub and direction=AtoB, and only with them.")
        if self.streaming and not self.is_remote:
            raise UserError("streaming=true goes with layout=hub, and only with it.")
        if (self.input_suffix or self.target_suffix) and ("input_folder" not in self.needs or self.is_remote):
            raise UserError("input_suffix and target_suffix go with layout=folders, and only with it.")

    @property
    def parts(self) -> int:
        """How many files are one input."""
        return len(self.input_folder) if isinstance(self.input_folder, tuple) else 1

    @property
    def extensions(self) -> frozenset[str]:
        return EXTENSIONS | {".npy"} if self.with_arrays else EXTENSIONS

    @abstractmethod
    def find(self, root: Any) -> Found:
        """The pairs A → B of each split that is stored, ordered by name, and what keeps other files from being pairs.

        If nothing says which split they belong to, all are in train. UserError if there is nothing at all.
        """

    def open(self, pair: Pair, read: Callable[[File, str], Stored]) -> dict[str, Stored]:
        """The images of a pair, ``input`` and ``target`` as far as they come from files, which ``read`` reads."""
        halves = {}
        if pair.input:
            halves["input"] = join([read(path, "input") for path in (pair.input, *pair.more)], pair.name)
        if pair.target:
            halves["target"] = read(pair.target, "target")
        return halves

    def scan(
        self, root: Path | str, val_fraction: float, test_fraction: float, folds: int | None = None, fold: int = 0
    ) -> Found:
        """The pairs of each split, and what keeps other files from being pairs. UserError if there is nothing at all.

        A split that is not stored is taken out of train by a hash of the pair's name, so that adding images never
        moves a pair from one split to another. With ``folds``, all pairs are divided anew, in the same way: those of
        the ``fold`` are tested.
        """
        if isinstance(root, Path) and not root.is_dir():
            problem = "is not a folder" if root.exists() else "does not exist"
            raise UserError(f"data.root={root} {problem}{'' if root.is_absolute() else f' in {Path.cwd()}'}.")
        if self.streaming and folds is not None:
            raise UserError("data.folds goes without data.streaming: streamed pairs can't be divided anew.")
        stored, errors = self.find(root)
        if folds is None:
            splits = fill(stored, val_fraction, test_fraction)
        else:
            splits = cross_validate(stored, folds, fold, val_fraction)
        if self.direction == "BtoA" and "input" in self.halves:
            splits = {split: [swap(pair) for pair in pairs] for split, pairs in splits.items()}
        return splits, errors


def swap(pair: Pair) -> Pair:
    """The pair B → A."""
    return Pair(pair.name, pair.target, pair.input)


def fill(stored: dict[str, list[Pair]], val_fraction: float, test_fraction: float) -> dict[str, list[Pair]]:
    """The splits that are stored; those that are not are taken out of train, by a hash of each pair's name."""
    splits = {split: stored.get(split, []) for split in SPLITS}
    every, splits["train"] = splits["train"], []
    for pair in every:
        place = place_of(pair)
        wanted = "test" if place < test_fraction else "val" if place < test_fraction + val_fraction else "train"
        splits["train" if wanted in stored else wanted].append(pair)
    for split in splits.keys() - stored.keys() - {"train"}:
        log.info("No pairs stored for %s: uses %d of the %d for train.", split, len(splits[split]), len(every))
    return splits


def cross_validate(stored: dict[str, list[Pair]], folds: int, fold: int, val_fraction: float) -> dict[str, list[Pair]]:
    """All pairs, divided by a hash of their names: those of one fold are for test, and a part of the others for val.

    A name that several stored splits have gets its split's in front.
    """
    splits: dict[str, list[Pair]] = {split: [] for split in SPLITS}
    count = Counter(pair.name for pairs in stored.values() for pair in pairs)
    for split, pairs in stored.items():
        for pair in pairs:
            place = place_of(pair) * folds
            wanted = "test" if int(place) == fold else "val" if place % 1 < val_fraction else "train"
            splits[wanted].append(pair if count[pair.name] == 1 else replace(pair, name=f"{split}_{pair.name}"))
    log.info("Cross-validation: fold %d of 0 … %d is the test; train, val and test are divided anew.", fold, folds - 1)
    return splits


def place_of(pair: Pair) -> float:
    """In [0, 1), by a hash of the pair's name."""
    digest = hashlib.sha256(pair.name.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def raise_for(errors: list[PairingError]) -> None:
    """Raise a UserError that names all files that are not a pair, if there are any."""
    parts = []
    for kind, (heading, advice) in PAIRING_ERRORS.items():
        if texts := [error.text for error in errors if error.kind == kind]:
            parts.append(f"{heading}{bullets(texts)}\n{advice}")
    if parts:
        raise UserError("\n".join(parts))


def bullets(lines: list[str], most: int = 50) -> str:
    """Lines as a bulleted list that says how many it leaves out."""
    shown = "".join(f"\n  - {line}" for line in lines[:most])
    return shown + (f"\n  … and {len(lines) - most} more" if len(lines) > most else "")
