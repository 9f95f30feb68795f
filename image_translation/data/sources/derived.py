"""Images from which the other half of the pair is computed, by ``data.derive``."""

from pathlib import Path

from image_translation.data.sources.base import Pair, PairingError
from image_translation.data.sources.folders import SplitFolders, images_by_stem


class DerivedPairs(SplitFolders):
    """One folder of images, the targets; the datamodule computes the inputs, and swaps the two if asked."""

    halves = ("target",)

    def pair_up(self, folders: list[Path], errors: list[PairingError]) -> list[Pair]:
        return [Pair(stem, None, path) for stem, path in images_by_stem(folders[0], errors).items()]
