"""Pairs in two folders, with the same stem; and what all layouts with a folder for each split share."""

import logging
import unicodedata
from abc import abstractmethod
from collections import defaultdict
from pathlib import Path

from image_translation.cli.errors import UserError
from image_translation.data.sources.base import EXTENSIONS, SPLITS, Found, Pair, PairingError, PairSource

log = logging.getLogger(__name__)
IGNORED = ("thumbs.db", "desktop.ini")  # and files that begin with a dot


class SplitFolders(PairSource):
    """Pairs in ``root/<split>/<folder>`` or ``root/<folder>/<split>``, or, without splits, in ``root/<folder>``."""

    @property
    def folders(self) -> list[str]:
        """The folders that a split consists of; "" stands for the split's own folder."""
        return [self.target_folder or ""]

    @abstractmethod
    def pair_up(self, folders: list[Path], errors: list[PairingError]) -> list[Pair]:
        """The pairs in the folders of one split; what is wrong is added to ``errors``."""

    def scan(self, root: Path) -> Found:
        errors: list[PairingError] = []
        stored = {split: paths for split in SPLITS if (paths := self._find_split(root, split, errors))}
        whole = [root / folder for folder in self.folders]
        if stored:
            self._warn_of_others(root, stored)
        elif not errors and all(path.is_dir() for path in whole):
            stored = {"train": whole}
        found = {split: self.pair_up(paths, errors) for split, paths in stored.items()}
        if not any(found.values()) and not errors:
            raise UserError(self._nothing_found(root))
        return found, errors

    def _find_split(self, root: Path, split: str, errors: list[PairingError]) -> list[Path]:
        """The folders of a split, as many as ``folders``; none if it is not stored."""
        for paths in ([root / split / f for f in self.folders], [root / f / split for f in self.folders]):
            there = [path for path in paths if path.is_dir()]
            if len(there) == len(paths):
                return paths
            if there:
                missing = next(path for path in paths if path not in there)
                text = f"{there[0]} exists but its partner {missing} does not."
                errors.append(PairingError("half a split", text, (there[0],)))
                return []
        return []

    def _warn_of_others(self, root: Path, stored: dict[str, list[Path]]) -> None:
        """Name folders that are no split, and images that lie beside the splits."""
        known = {*SPLITS, *(Path(folder).parts[0] for folder in self.folders if folder)}
        if others := [path.name for path in _visible(root) if path.is_dir() and path.name not in known]:
            log.warning("%s: ignored folders that are not train, val or test: %s", root, ", ".join(others[:10]))
        for folder in (root / folder for folder in self.folders):
            loose = [path for path in folder.glob("*") if path.suffix.lower() in EXTENSIONS]
            if loose and not any(folder in paths for paths in stored.values()):
                log.warning("%s: ignored %d images that are in no split.", folder, len(loose))

    def _nothing_found(self, root: Path) -> str:
        splits, whole = (" and ".join(str(path / folder) for folder in self.folders) for path in (root / "train", root))
        there = [path.name for path in _visible(root)]
        return (
            f"No images in data.root={root}.\n"
            f"Expected {splits} (likewise val, test), or {whole}, with files {' '.join(sorted(EXTENSIONS))}.\n"
            f"Found: {', '.join(there[:20]) or 'nothing'}{' …' if len(there) > 20 else ''}."
        )


class FolderPairs(SplitFolders):
    """Two folders; the files of a pair have the same stem."""

    needs = ("input_folder", "target_folder")

    @property
    def folders(self) -> list[str]:
        folders = [self.input_folder or "", self.target_folder or ""]
        return folders if self.direction == "AtoB" else folders[::-1]

    def pair_up(self, folders: list[Path], errors: list[PairingError]) -> list[Pair]:
        inputs, targets = (images_by_stem(folder, errors) for folder in folders)
        for own, others, other in ((inputs, targets, folders[1]), (targets, inputs, folders[0])):
            orphans = [path for stem, path in own.items() if stem not in others]
            errors += [PairingError("orphan", f"{path} (no partner in {other})", (path,)) for path in orphans]
        return [Pair(stem, path, targets[stem]) for stem, path in inputs.items() if stem in targets]


def images_by_stem(folder: Path, errors: list[PairingError]) -> dict[str, Path]:
    """The images of a folder. Hidden files are ignored, other files are named in a warning."""
    by_stem: dict[str, list[Path]] = defaultdict(list)
    others = []
    for path in _visible(folder):
        if path.is_symlink() and not path.exists():
            errors.append(PairingError("broken link", f"{path} → {path.readlink()}", (path,)))
        elif path.suffix.lower() in EXTENSIONS and path.is_file():
            by_stem[unicodedata.normalize("NFC", path.stem)].append(path)  # macOS stores names decomposed
        elif path.name.lower() not in IGNORED and path.name not in SPLITS:
            others.append(path.name + "/" * path.is_dir())
    if others:
        log.warning("%s: ignored %d that are not images: %s", folder, len(others), ", ".join(others[:10]))
    for paths in by_stem.values():
        if len(paths) > 1:
            text = f"{folder}: {', '.join(path.name for path in paths)}"
            errors.append(PairingError("double stem", text, tuple(paths)))
    return {stem: paths[0] for stem, paths in by_stem.items()}


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
