"""Which files on disk form pairs, and which split each pair belongs to."""

import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from image_translation.errors import UserError, one_of

log = logging.getLogger(__name__)
SPLITS = ("train", "val", "test")
LAYOUTS = ("folders", "aligned", "derived")
DIRECTIONS = ("AtoB", "BtoA")
EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif"})


@dataclass(frozen=True, slots=True)
class Pair:
    """One pair. ``input`` is the same file as ``target`` in the layout ``aligned``, and None in ``derived``."""

    name: str
    input: Path | None
    target: Path


@dataclass(frozen=True, slots=True)
class Layout:
    """How pairs lie on disk; see the module ``datamodule`` for what the fields mean."""

    kind: str = "folders"
    input_folder: str | None = None
    target_folder: str | None = None
    direction: str = "AtoB"

    def __post_init__(self) -> None:
        one_of("data.layout", self.kind, LAYOUTS)
        one_of("data.direction", self.direction, DIRECTIONS)
        if self.kind == "folders" and not (self.input_folder and self.target_folder):
            raise UserError(
                "data.layout=folders needs the names of two folders: data.input_folder, data.target_folder."
            )
        if self.kind == "derived" and self.direction == "BtoA":
            raise UserError("data.direction=BtoA makes no sense with data.layout=derived: the input is computed.")

    @property
    def folders(self) -> list[str]:
        """The folders that a split consists of: inputs then targets, or one; "" stands for the split's own folder."""
        if self.kind != "folders":
            return [self.target_folder or ""]
        folders = [self.input_folder or "", self.target_folder or ""]
        return folders if self.direction == "AtoB" else folders[::-1]


def find_pairs(root: Path, layout: Layout, val_fraction: float, test_fraction: float) -> dict[str, list[Pair]]:
    """The pairs of each split, sorted by name.

    A split that has a sub-folder (``root/<split>/<folder>`` or ``root/<folder>/<split>``) is what lies there. Splits
    without one are cut out of train, or of the whole if there are no sub-folders: by a hash of the name, so that adding
    pictures never moves a pair from one split to another.

    Raises:
        UserError: no pictures, orphans, two files with one stem, or half a split.
    """
    if not root.is_dir():
        raise UserError(f"data.root={root} {'is not a folder' if root.exists() else 'does not exist'}.")
    found: dict[str, list[Pair]] = {split: [] for split in SPLITS}
    folders = {split: _split_folders(root, layout, split) for split in SPLITS}
    if any(folders.values()):
        for split, paths in folders.items():
            found[split] = _pair_up(layout, paths) if paths else []
        missing = [split for split in ("val", "test") if not folders[split]]
    else:
        paths = [root / folder for folder in layout.folders]
        found["train"] = _pair_up(layout, paths) if all(path.is_dir() for path in paths) else []
        missing = ["val", "test"]
    if not any(found.values()):
        raise UserError(_nothing_found(root, layout))

    bounds = {
        "test": (0.0, test_fraction),
        "val": (test_fraction, test_fraction + val_fraction),
    }
    for split in missing:
        log.info("No folder %r: cut out of train by name (data.%s_fraction).", split, split)
        low, high = bounds[split]
        found[split] = [pair for pair in found["train"] if low <= _unit_hash(pair.name) < high]
    taken = {pair.name for split in missing for pair in found[split]}
    found["train"] = [pair for pair in found["train"] if pair.name not in taken]
    return found


def _unit_hash(name: str) -> float:
    """A number in [0, 1) that depends on the name only."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8], "big") / 2**64


def _split_folders(root: Path, layout: Layout, split: str) -> list[Path]:
    """The folders that hold ``split``, one for each of the layout's; empty if the split has none."""
    for places in ([root / split / f for f in layout.folders], [root / f / split for f in layout.folders]):
        there = [place.is_dir() for place in places]
        if all(there):
            return places
        if any(there):
            missing = next(place for place in places if not place.is_dir())
            raise UserError(f"{places[there.index(True)]} exists but its partner {missing} does not.")
    return []


def _pictures(folder: Path) -> dict[str, Path]:
    """The pictures of a folder by stem; hidden files and other kinds of file are passed over.

    Raises:
        UserError: two pictures have one stem.
    """
    by_stem: dict[str, list[Path]] = defaultdict(list)
    others = []
    for path in sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")):
        if path.suffix.lower() in EXTENSIONS:
            by_stem[path.stem].append(path)
        elif path.name != "Thumbs.db":
            others.append(path.name)
    if others:
        log.warning("%s: passed over %d files of other kinds: %s", folder, len(others), ", ".join(others[:10]))
    doubles = [f"{folder}: {', '.join(p.name for p in paths)}" for paths in by_stem.values() if len(paths) > 1]
    if doubles:
        raise UserError(
            f"A pair shares the stem of its file name, so a stem can stand in a folder only once. "
            f"{listing(doubles)}\nRename or remove all but one of each."
        )
    return {stem: paths[0] for stem, paths in by_stem.items()}


def _pair_up(layout: Layout, folders: list[Path]) -> list[Pair]:
    if layout.kind != "folders":
        pictures = _pictures(folders[0])
        return [Pair(stem, path if layout.kind == "aligned" else None, path) for stem, path in pictures.items()]
    inputs, targets = (_pictures(folder) for folder in folders)
    orphans = [f"{folder / paths[stem].name}" for folder, paths, others in
               ((folders[0], inputs, targets), (folders[1], targets, inputs))
               for stem in paths if stem not in others]  # fmt: skip
    if orphans:
        raise UserError(
            f"Pictures without a partner of the same stem in {folders[0]} or {folders[1]}: {listing(orphans)}\n"
            "Add the partner or move the picture away."
        )
    return [Pair(stem, path, targets[stem]) for stem, path in inputs.items()]


def _nothing_found(root: Path, layout: Layout) -> str:
    wanted = " and ".join(f"{root / split / folder}" for split in ("train",) for folder in layout.folders)
    whole = " and ".join(str(root / folder) for folder in layout.folders)
    hint = "" if layout.kind == "folders" else " (data.target_folder=null: the split's own folder)"
    there = sorted(path.name for path in root.iterdir())
    return (
        f"No pictures for data.layout={layout.kind} in data.root={root}.\n"
        f"Expected {wanted} (likewise val, test), or {whole}{hint}, with files {' '.join(sorted(EXTENSIONS))}.\n"
        f"Found there: {', '.join(there[:20]) or 'nothing'}{' …' if len(there) > 20 else ''}."
    )


def listing(lines: Iterable[str], most: int = 50) -> str:
    """Lines as a bulleted list that says how many it leaves out."""
    lines = list(lines)
    shown = "".join(f"\n  - {line}" for line in lines[:most])
    return shown + (f"\n  … and {len(lines) - most} more" if len(lines) > most else "")
