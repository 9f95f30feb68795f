"""Pairs as uint8 tensors."""

from functools import partial
from typing import Any

from torch.utils.data import Dataset
from torchvision.transforms.functional import pil_to_tensor

from image_translation.data.images import BACKGROUND, read_image, resize_image
from image_translation.data.sources.base import Pair, PairSource


class PairedImageDataset(Dataset[dict[str, Any]]):
    """Yields ``{"input": uint8 (3, S, S), "target": the same, "name": str}``, with those halves that files hold.

    Args:
        pairs: the pairs.
        source: opens them.
        image_size: S.
        resize: ``crop`` or ``stretch``, for images of another size or shape.
        background: the color that transparent images are laid over.
    """

    def __init__(
        self, pairs: list[Pair], source: PairSource, image_size: int, resize: str, background: str = BACKGROUND
    ) -> None:
        self.pairs, self.source, self.image_size, self.resize = pairs, source, image_size, resize
        self.background = background

    @property
    def nbytes(self) -> int:
        """The size of all its images as uint8."""
        return len(self) * len(self.source.halves) * 3 * self.image_size**2

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        pair = self.pairs[index]
        halves = self.source.open(pair, partial(read_image, background=self.background))
        images = {half: resize_image(image, self.image_size, self.resize) for half, image in halves.items()}
        return {"name": pair.name} | {half: pil_to_tensor(image) for half, image in images.items()}
