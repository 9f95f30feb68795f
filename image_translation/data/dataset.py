"""Pairs as uint8 tensors."""

from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.functional import pil_to_tensor

from image_translation.data.layout import Layout, Pair
from image_translation.data.pictures import BACKGROUND, fit_picture, read_picture, split_halves


class PairedImageDataset(Dataset[dict[str, Any]]):
    """Yields ``{"input": uint8 (3, S, S), "target": the same, "name": str}``, with no ``input`` in a derived layout.

    Args:
        pairs: the files.
        layout: how they form pairs.
        image_size: S.
        fit: ``crop`` or ``squash``, for pictures of another size or shape.
        background: the colour over which transparent pictures are laid.
    """

    def __init__(
        self, pairs: list[Pair], layout: Layout, image_size: int, fit: str, background: str = BACKGROUND
    ) -> None:
        self.pairs, self.layout, self.image_size, self.fit = pairs, layout, image_size, fit
        self.background = background

    @property
    def halves(self) -> tuple[str, ...]:
        """Which pictures of a pair are read from files."""
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
        return {"name": pair.name} | {key: self._to_tensor(picture) for key, picture in halves.items()}

    def _read(self, path: Path) -> Image.Image:
        return read_picture(path, background=self.background)

    def _to_tensor(self, picture: Image.Image) -> Tensor:
        tensor: Tensor = pil_to_tensor(fit_picture(picture, self.image_size, self.fit))
        return tensor
