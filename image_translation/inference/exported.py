"""An exported file in the place of a trained model: to predict with, and to test."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from image_translation.data.transforms import to_float, to_uint8
from image_translation.inference.graph import Run, open_graph
from image_translation.models import ImageTranslationModule


class ExportedGraph(nn.Module):
    """(N, 3, H, W) in [-1, 1], rounded to 8 bits → the same, of any size."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run

    def forward(self, x: Tensor) -> Tensor:
        images = to_uint8(x).permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return to_float(torch.from_numpy(self.run(images)).permute(0, 3, 1, 2)).to(x.device)


class Exported(ImageTranslationModule):
    """The model of an exported file. It can't be trained."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        run, self.about = open_graph(path)
        self.generator = ExportedGraph(run)
        self.trained_on: dict[str, Any] = self.about["trained_on"]
