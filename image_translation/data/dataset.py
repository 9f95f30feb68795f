"""Pairs as uint8 tensors."""

from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.functional import pil_to_tensor

from image_translation.data.images import BACKGROUND, read_image, resize_image, split_halves
from image_translation.data.layout import Layout, Pair


class PairedImageDataset(Dataset[dict[str, Any]]):
    """Yields ``{"input": uint8 (3, S, S), "target": the same, "name": str}``, with no ``input`` in a derived layout.

    Args:
        pairs: the files.
        layout: how they form pairs.
        image_size: S.
        fit: ``crop`` or ``stretch``, for images of another size or shape.
        background: the color over which transparent images are laid.
    """

    def __init__(
        self, pairs: list[Pair], layout: Layout, image_size: int, resize: str, background: str = BACKGROUND
    ) -> None:
        self.pairs, self.layout, self.image_size, self.resize = pairs, layout, image_size, resize
        self.background = background

    @property
    def halves(self) -> tuple[str, ...]:
        """Which images of a pair are read from files."""
        return ("target",) if self.layout.kind == "derived" else ("input", "target")

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        pair = self.pairs[index]
        target = self._read(pair.target)
        if self.layout.kind == "aligned":
            source, target = split_halves(target, self.layout)
            halves = {"input": source, "target": target}
        elif pair.input:
            halves = {"input": self._read(pair.input), "target": target}
        else:
            halves = {"target": target}
        return {"name": pair.name} | {key: self._to_tensor(image) for key, image in halves.items()}

    def _read(self, path: Path) -> Image.Image:
        return read_image(path, background=self.background)

    def _to_tensor(self, image: Image.Image) -> Tensor:
        tensor: Tensor = pil_to_tensor(resize_image(image, self.image_size, self.resize))
        return tensor
