"""Images that hold both halves of a pair side by side."""

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from image_translation.cli.errors import UserError
from image_translation.data.images import read_image
from image_translation.data.sources.base import Pair, PairingError
from image_translation.data.sources.folders import SplitFolders, images_by_stem


class AlignedPairs(SplitFolders):
    """One folder of images. The left half is the input, or with ``direction=BtoA`` the target."""

    def pair_up(self, folders: list[Path], errors: list[PairingError]) -> list[Pair]:
        return [Pair(stem, path, path) for stem, path in images_by_stem(folders[0], errors).items()]

    def open(self, pair: Pair, read: Callable[[Path], Image.Image] = read_image) -> dict[str, Image.Image]:
        (path,) = pair.files
        image = read(path)
        if image.width % 2:
            raise UserError(f"{path}: {image.width} pixels wide, so it has no two equal halves.")
        middle = image.width // 2
        left, right = image.crop((0, 0, middle, image.height)), image.crop((middle, 0, image.width, image.height))
        return {"input": left, "target": right} if self.direction == "AtoB" else {"input": right, "target": left}
