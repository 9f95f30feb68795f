"""Pairs in folders, one or two for each split."""

import logging
import unicodedata
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from PIL import Image

from image_translation.cli.errors import UserError
from image_translation.data.images import read_image
from image_translation.data.sources.base import EXTENSIONS, SPLITS, Found, Pair, PairingError, PairSource

log = logging.getLogger(__name__)
IGNORED = ("thumbs.db", "desktop.ini")  # and files that begin with a dot


class SplitFolders(PairSource):
    """Pairs in ``root/<split>/<folder>`` or ``root/<folder>/<split>``, or, without splits, in ``root/<folder>``."""

    options: ClassVar[tuple[str, ...]] = ("target_folder",)  # name the folders of a split

    @property
    def folders(self) -> list[str]:
        """The folders that a split consists of; "" stands for the split's own folder."""
        folders = [getattr(self, option) or "" for option in self.options]
        return folders if self.direction == "AtoB" else folders[::-1]

    def find(self, root: Path) -> Found:
        stored: dict[str, list[Path]] = {}
        for split in SPLITS:
            for paths in ([root / split / f for f in self.folders], [root / f / split for f in self.folders]):
                if any(path.is_dir() for path in paths):
                    stored.setdefault(split, paths)
        whole = [root / folder for folder in self.folders]
        if stored:
            known = {*SPLITS, *(Path(folder).parts[0] for folder in self.folders if folder)}
            if others := [path.name for path in _visible(root) if path.is_dir() and path.name not in known]:
                log.warning("%s: ignored folders that are not train, val or test: %s", root, ", ".join(others[:10]))
            for folder in whole:
                if loose := [path for path in folder.glob("*") if path.suffix.lower() in EXTENSIONS]:
                    log.warning("%s: ignored %d images that are in no split.", folder, len(loose))
        elif any(path.is_dir() for path in whole):
            stored = {"train": whole}
        found, errors = {}, list[PairingError]()
        for split, paths in stored.items():
            missing = [path for path in paths if not path.is_dir()]
            errors += [PairingError("half a split", f"{path} does not exist, but its partner.") for path in missing]
            found[split] = [] if missing else self._pair_up(paths, errors)
        if not any(found.values()) and not errors:
            there = ", ".join(path.name for path in _visible(root)[:20])
            splits, folders = (" and ".join(str(path / f) for f in self.folders) for path in (root / "train", root))
            raise UserError(
                f"No images in data.root={root}. Expected {splits} (likewise val, test), or {folders}, with files "
                f"{' '.join(sorted(EXTENSIONS))}.\nFound: {there or 'nothing'}."
            )
        return found, errors

    def _pair_up(self, folders: list[Path], errors: list[PairingError]) -> list[Pair]:
        """The pairs in the folders of one split; what is wrong is added to ``errors``."""
        images = [images_by_stem(folder, errors) for folder in folders]
        first, last = images[0], images[-1]
        orphans = [path for own in images for stem, path in own.items() if not (stem in first and stem in last)]
        errors += [PairingError("orphan", str(path), (path,)) for path in orphans]
        inputs = first if "input" in self.halves else {}
        return [Pair(stem, inputs.get(stem), last[stem]) for stem in first if stem in last]


class FolderPairs(SplitFolders):
    """Two folders; the files of a pair have the same stem."""

    needs = options = ("input_folder", "target_folder")


class AlignedPairs(SplitFolders):
    """One folder of images that hold both halves. The left one is the input, or with ``direction=BtoA`` the target."""

    def open(self, pair: Pair, read: Callable[[Path], Image.Image] = read_image) -> dict[str, Image.Image]:
        (path,) = pair.files
        image = read(path)
        if image.width % 2:
            raise UserError(f"{path}: {image.width} pixels wide, so it has no two equal halves.")
        middle = image.width // 2
        left, right = image.crop((0, 0, middle, image.height)), image.crop((middle, 0, image.width, image.height))
        return {"input": left, "target": right} if self.direction == "AtoB" else {"input": right, "target": left}


class DerivedPairs(SplitFolders):
    """One folder of images, the targets; the datamodule computes the inputs, and swaps the two if asked."""

    halves = ("target",)


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
