"""Which files on disk form pairs, and which split each pair belongs to."""

import difflib
import hashlib
import logging
import unicodedata
from collections import defaultdict
from pathlib import Path

from image_translation.cli.errors import UserError
from image_translation.data.layout import EXTENSIONS, PAIRING_ERRORS, SPLITS, Layout, Pair, PairingError, listing
from image_translation.data.table import read_table

log = logging.getLogger(__name__)
PASSED_OVER = ("thumbs.db", "desktop.ini")  # and what begins with a dot


def find_pairs(root: Path, layout: Layout, val_fraction: float, test_fraction: float) -> dict[str, list[Pair]]:
    """The pairs of each split, sorted by name.

    A split that has a sub-folder (``root/<split>/<folder>`` or ``root/<folder>/<split>``) is what lies there, or what
    the table says. Splits without one are cut out of train, or of the whole if there are none: by a hash of the name,
    so that adding images never moves a pair from one split to another.

    Raises:
        UserError: no images, orphans, two files with one stem, half a split …; all of it at once.
    """
    splits, troubles = scan(root, layout, val_fraction, test_fraction)
    if troubles:
        parts = []
        for kind, (before, after) in PAIRING_ERRORS.items():
            if texts := [trouble.text for trouble in troubles if trouble.kind == kind]:
                parts.append(f"{before}{listing(texts)}\n{after}")
        raise UserError("\n".join(parts))
    return splits


def scan(
    root: Path, layout: Layout, val_fraction: float, test_fraction: float
) -> tuple[dict[str, list[Pair]], list[PairingError]]:
    """As ``find_pairs``, but what keeps files from being a pair is returned, beside the pairs that there are.

    Raises:
        UserError: there is nothing to be found.
    """
    if not root.is_dir():
        raise UserError(f"data.root={root} {'is not a folder' if root.exists() else 'does not exist'}.")
    troubles: list[PairingError] = []
    if layout.kind == "table":
        found, missing = read_table(root, layout, troubles)
    else:
        found, missing = _in_folders(root, layout, troubles)
    if not any(found.values()) and not troubles:
        raise UserError(_nothing_found(root, layout))

    bounds = {
        "test": (0.0, test_fraction),
        "val": (test_fraction, test_fraction + val_fraction),
    }
    for split in missing:
        log.info("No %s of its own: cut out of train by name (data.%s_fraction).", split, split)
        low, high = bounds[split]
        found[split] = [pair for pair in found["train"] if low <= _unit_hash(pair.name) < high]
    taken = {pair.name for split in missing for pair in found[split]}
    found["train"] = [pair for pair in found["train"] if pair.name not in taken]
    return found, troubles


def _unit_hash(name: str) -> float:
    """A number in [0, 1) that depends on the name only."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8], "big") / 2**64


def _in_folders(root: Path, layout: Layout, troubles: list[PairingError]) -> tuple[dict[str, list[Pair]], list[str]]:
    """The pairs of each split, and the splits without a folder; without any all pairs are in train."""
    found: dict[str, list[Pair]] = {split: [] for split in SPLITS}
    folders = {split: _split_folders(root, layout, split, troubles) for split in SPLITS}
    if any(folders.values()):
        known = {*SPLITS, *layout.folders, *(Path(folder).parts[0] for folder in layout.folders if folder)}
        unknown = [path.name for path in root.iterdir() if path.is_dir() and path.name not in known]
        if others := sorted(name for name in unknown if not name.startswith(".")):
            log.warning("%s: passed over folders that are no split's: %s", root, ", ".join(map(_named, others[:10])))
        for folder in (root / folder for folder in layout.folders):
            loose = [path for path in folder.glob("*") if path.suffix.lower() in EXTENSIONS]
            if loose and not any(folder in paths for paths in folders.values()):
                log.warning("%s: passed over %d images that lie beside the splits.", folder, len(loose))
    if any(folders.values()) or troubles:
        for split, paths in folders.items():
            found[split] = _pair_up(layout, paths, troubles) if paths else []
        return found, [split for split in ("val", "test") if not folders[split]]
    paths = [root / folder for folder in layout.folders]
    found["train"] = _pair_up(layout, paths, troubles) if all(path.is_dir() for path in paths) else []
    return found, ["val", "test"]


def _named(folder: str) -> str:
    """A folder that is no split's, with the split that may be meant."""
    lower = folder.lower()
    if lower in SPLITS:
        return f"{folder} (expected in lower case: {lower})"
    longer = [split for split in SPLITS if lower.startswith(split)]  # validation, training, testing
    meant = longer or difflib.get_close_matches(lower, SPLITS, n=1)
    return f"{folder} (did you mean {meant[0]}?)" if meant else folder


def _split_folders(root: Path, layout: Layout, split: str, troubles: list[PairingError]) -> list[Path]:
    """The folders that hold ``split``, one for each of the layout's; empty if the split has none."""
    for places in ([root / split / f for f in layout.folders], [root / f / split for f in layout.folders]):
        there = [place.is_dir() for place in places]
        if all(there):
            return places
        if any(there):
            missing = next(place for place in places if not place.is_dir())
            has = places[there.index(True)]
            troubles.append(PairingError("half a split", f"{has} exists but its partner {missing} does not.", (has,)))
            return []
    return []


def _images(folder: Path, troubles: list[PairingError]) -> dict[str, Path]:
    """The images of a folder by stem; hidden files and other kinds of file are passed over."""
    by_stem: dict[str, list[Path]] = defaultdict(list)
    others = []
    for path in sorted(path for path in folder.iterdir() if not path.name.startswith(".")):
        if path.is_symlink() and not path.exists():
            troubles.append(PairingError("broken link", f"{path} → {path.readlink()}", (path,)))
        elif path.suffix.lower() in EXTENSIONS and path.is_file():
            by_stem[unicodedata.normalize("NFC", path.stem)].append(path)  # macOS writes names in another form
        elif path.name.lower() not in PASSED_OVER and path.name not in SPLITS:
            others.append(path.name + "/" * path.is_dir())
    if others:
        log.warning("%s: passed over %d that are no images: %s", folder, len(others), ", ".join(others[:10]))
    troubles += [
        PairingError("double stem", f"{folder}: {', '.join(p.name for p in paths)}", tuple(paths))
        for paths in by_stem.values() if len(paths) > 1
    ]  # fmt: skip
    return {stem: paths[0] for stem, paths in by_stem.items()}


def _pair_up(layout: Layout, folders: list[Path], troubles: list[PairingError]) -> list[Pair]:
    if layout.kind != "folders":
        images = _images(folders[0], troubles)
        return [Pair(stem, path if layout.kind == "aligned" else None, path) for stem, path in images.items()]
    inputs, targets = (_images(folder, troubles) for folder in folders)
    troubles += [PairingError("orphan", f"{paths[stem]} (looked for in {other})", (paths[stem],))
                 for paths, others, other in ((inputs, targets, folders[1]), (targets, inputs, folders[0]))
                 for stem in paths if stem not in others]  # fmt: skip
    return [Pair(stem, path, targets[stem]) for stem, path in inputs.items() if stem in targets]


def _nothing_found(root: Path, layout: Layout) -> str:
    if layout.kind == "table":
        return f"data.table={layout.table} in {root} lists no pairs."
    wanted = " and ".join(f"{root / split / folder}" for split in ("train",) for folder in layout.folders)
    whole = " and ".join(str(root / folder) for folder in layout.folders)
    hint = "" if layout.kind == "folders" else " (data.target_folder=null: the split's own folder)"
    there = [_named(name) for name in sorted(path.name for path in root.iterdir())]
    return (
        f"No images for data.layout={layout.kind} in data.root={root}.\n"
        f"Expected {wanted} (likewise val, test), or {whole}{hint}, with files {' '.join(sorted(EXTENSIONS))}.\n"
        f"Found there: {', '.join(there[:20]) or 'nothing'}{' …' if len(there) > 20 else ''}."
    )
