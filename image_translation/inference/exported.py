"""An exported file in the place of a trained model: to predict with, and to test."""

from pathlib import Path

import torch
from torch import Tensor, nn

from image_translation.data.kinds import Kind
from image_translation.data.transforms import from_float, to_float
from image_translation.inference.graph import Run, open_graph
from image_translation.models import ImageTranslationModule


class ExportedGraph(nn.Module):
    """(N, C, H, W) in [-1, 1], rounded as they are stored → the same of outputs, of any size."""

    def __init__(self, run: Run, kinds: tuple[Kind, Kind]) -> None:
        super().__init__()
        self.run, (self.input, self.target) = run, kinds

    def forward(self, x: Tensor) -> Tensor:
        images = from_float(x, self.input).permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return to_float(torch.from_numpy(self.run(images)).permute(0, 3, 1, 2), self.target).to(x.device)


class Exported(ImageTranslationModule):
    """The model of an exported file. It can't be trained."""

    def __init__(self, path: Path) -> None:
        run, about = open_graph(path)
        kinds = Kind.of(about["trained_on"].get("input")), Kind.of(about["trained_on"].get("target"))
        super().__init__(in_channels=kinds[0].channels, out_channels=kinds[1].channels)
        self.about, self.trained_on = about, about["trained_on"]
        self.generator = ExportedGraph(run, kinds)
