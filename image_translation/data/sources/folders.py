"""Pairs in folders, one or two for each split."""

import logging
import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import ClassVar

from PIL import Image

from image_translation.cli.errors import UserError
from image_translation.data.kinds import Stored, size_of
from image_translation.data.sources.base import EXTENSIONS, SPLITS, File, Found, Pair, PairingError, PairSource

log = logging.getLogger(__name__)
# What network drives and systems put among a user's folders: thumbnails, or what was deleted.
SYSTEM_FOLDERS = {"@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found", "__MACOSX"}


class FolderPairs(PairSource):
    """Two folders, or more with several inputs. The files of a pair share their stem, apart from the suffixes.

    They are ``root/<split>/<folder>``, ``root/<folder>/<split>``, or ``root/<split><folder>`` as ``trainA``; without
    splits ``root/<folder>``. Sub-folders are searched.
    """

    needs: ClassVar[tuple[str, ...]] = ("input_folder", "target_folder")

    @property
    def folders(self) -> list[str]:
        """The folders that a split consists of; "" stands for the split's own folder."""
        inputs = self.input_folder if isinstance(self.input_folder, tuple) else (self.input_folder or "",)
        return [*inputs, self.target_folder or ""] if self.needs else [self.target_folder or ""]

    def find(self, root: Path) -> Found:
        stored: dict[str, list[Path]] = {}
        for split in SPLITS:
            for paths in self._places(root, split):
                if any(path.is_dir() for path in paths):
                    stored.setdefault(split, paths)
        whole = [root / folder for folder in self.folders]
        if not stored and any(path.is_dir() for path in whole):
            stored = {"train": whole}
        used = {path for paths in stored.values() for path in paths}
        _warn_of_ignored(root, used, whole)
        found, errors = {}, list[PairingError]()
        for split, paths in stored.items():
            missing = [path for path in paths if not path.is_dir()]
            errors += [PairingError("half a split", f"{path} does not exist, but its partner.") for path in missing]
            found[split] = [] if missing else self._pair_up(paths, errors)
        if not any(found.values()) and not errors:
            there = ", ".join(path.name for path in _visible(root)[:20])
            splits, folders = (" and ".join(str(path / f) for f in self.folders) for path in (root / "train", root))
            other = [root / "trainA", root / "trainB"]
            hint = " Use data.input_folder=A data.target_folder=B." if all(path.is_dir() for path in other) else ""
            raise UserError(
                f"No images in data.root={root}. Expected {splits} (likewise val, test), or {folders}, with files "
                f"{' '.join(sorted(self.extensions))}.\nFound: {there or 'nothing'}.{hint}"
            )
        return found, errors

    def _places(self, root: Path, split: str) -> list[list[Path]]:
        """Where the folders of a split may be: in its own folder, the other way round, or called trainA or train_A."""
        folders = self.folders
        places = [[root / split / folder for folder in folders], [root / folder / split for folder in folders]]
        places += [[root / f"{split}{joint}{folder}" for folder in folders] for joint in ("", "_")]
        if all(folder.startswith("train") for folder in folders):
            places.append([root / f"{split}{folder.removeprefix('train')}" for folder in folders])
        return places

    def _pair_up(self, folders: list[Path], errors: list[PairingError]) -> list[Pair]:
        """The pairs in the folders of one split; what is wrong is added to ``errors``."""
        suffixes = [*[self.input_suffix] * self.parts, self.target_suffix]
        images = [images_by_stem(folder, errors, self.extensions) for folder in dict.fromkeys(folders)]
        if len(images) < len(folders):  # both in one folder, told apart by their suffixes
            longer = max(suffixes, key=len)
            images = [{stem: path for stem, path in images[0].items() if stem.endswith(longer) == (suffix == longer)}
                      for suffix in suffixes]  # fmt: skip
        names = [{stem.removesuffix(suffix): path for stem, path in own.items()}
                 for own, suffix in zip(images, suffixes, strict=False)]  # fmt: skip
        (first, *more), last = names[:-1] or names, names[-1]
        complete = [stem for stem in first if all(stem in own for own in names)]
        orphans = [path for own in names for stem, path in own.items() if not all(stem in other for other in names)]
        if orphans and len(images) == 2 and (ends := _find_suffixes(*images)):
            options = [f"data.{half}_suffix={end}" for half, end in zip(("input", "target"), ends, strict=True) if end]
            errors.append(PairingError("orphan", f"All are pairs with {' '.join(options)}"))
        errors += [PairingError("orphan", str(path), (path,)) for path in orphans]
        inputs = first if "input" in self.halves else {}
        return [Pair(stem, inputs.get(stem), last[stem], tuple(own[stem] for own in more)) for stem in complete]


class AlignedPairs(FolderPairs):
    """One folder of images that hold both halves. The left one is the input, or with ``direction=BtoA`` the target."""

    needs = ()
    is_apart = False

    def open(self, pair: Pair, read: Callable[[File, str], Stored]) -> dict[str, Stored]:
        (path,) = pair.files
        image = read(path, "target")
        width, height = size_of(image)
        if width % 2:
            raise UserError(f"{path}: {width} pixels wide, so it has no two equal halves.")
        middle = width // 2
        left: Stored
        right: Stored
        if isinstance(image, Image.Image):
            left, right = image.crop((0, 0, middle, height)), image.crop((middle, 0, width, height))
        else:
            left, right = image[:, :middle], image[:, middle:]
        return {"input": left, "target": right} if self.direction == "AtoB" else {"input": right, "target": left}


class DerivedPairs(FolderPairs):
    """One folder of images, the targets; the datamodule computes the inputs, and swaps the two if asked."""

    needs = ()
    halves = ("target",)


def images_by_stem(
    folder: Path, errors: list[PairingError], extensions: Collection[str] = EXTENSIONS
) -> dict[str, Path]:
    """The images of a folder and its sub-folders, whose names become part of the stem: ``bonn/1.png`` is ``bonn_1``.

    Hidden files and a system's own are ignored, other files are named in a warning.
    """
    by_stem: dict[str, list[Path]] = defaultdict(list)
    others = []
    for parts, is_link in sorted(_files_below(folder)):
        path, name = folder.joinpath(*parts), parts[-1]
        stem, suffix = os.path.splitext(name)  # noqa: PTH122 (of each of very many files)
        if is_link and not path.exists():
            errors.append(PairingError("broken link", f"{path} → {path.readlink()}", (path,)))
        elif suffix.lower() in extensions:
            stem = "_".join([*parts[:-1], stem])
            by_stem[unicodedata.normalize("NFC", stem)].append(path)  # macOS stores names decomposed
        elif name.lower() not in ("thumbs.db", "desktop.ini"):
            others.append("/".join(parts))
    if others:
        log.warning("%s: ignored %d that are not images: %s", folder, len(others), ", ".join(others[:10]))
    for paths in by_stem.values():
        if len(paths) > 1:
            text = f"{folder}: {', '.join(str(path.relative_to(folder)) for path in paths)}"
            errors.append(PairingError("double stem", text, tuple(paths)))
    return {stem: paths[0] for stem, paths in by_stem.items()}


def _files_below(folder: Path, inside: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], bool]]:
    """The parts of each file's path, and if it is a link, without what is hidden; there may be very many."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if _is_hidden(entry.name):
                continue
            if not entry.is_dir():
                yield (*inside, entry.name), entry.is_symlink()
            elif not entry.is_symlink():
                yield from _files_below(folder / entry.name, (*inside, entry.name))


def _find_suffixes(inputs: Collection[str], targets: Collection[str]) -> tuple[str, str] | None:
    """Endings of all inputs and of all targets without which they are pairs, if there are any."""
    shortest = [min(stems, key=lambda stem: (len(stem), stem), default="") for stems in (inputs, targets)]
    common = os.path.commonprefix(shortest)  # noqa: RUF071 (character by character)
    ends = shortest[0].removeprefix(common), shortest[1].removeprefix(common)
    names = [{stem.removesuffix(end) for stem in stems if stem.endswith(end)}
             for stems, end in zip((inputs, targets), ends, strict=True)]  # fmt: skip
    return ends if common and names[0] == names[1] and len(names[0]) == len(inputs) == len(targets) else None


def _warn_of_ignored(root: Path, used: set[Path], whole: list[Path]) -> None:
    """Name the folders beside those that are used, and count the images that are in no split."""
    above = {parent for path in used for parent in path.parents if parent.is_relative_to(root)}
    beside = [path for parent in above if parent.is_dir() for path in _visible(parent) if path.is_dir()]
    if others := sorted(str(path.relative_to(root)) for path in beside if path not in used | above):
        log.warning("%s: ignored folders: %s", root, ", ".join(others[:10]))
    for folder in set(whole) - used if used else ():
        if loose := [path for path in folder.glob("*") if path.suffix.lower() in EXTENSIONS]:
            log.warning("%s: ignored %d images that are in no split.", folder, len(loose))


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not _is_hidden(path.name))


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in SYSTEM_FOLDERS
