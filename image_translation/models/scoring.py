"""What all models share when they are used: outputs of any size, and their scores beside the baselines'."""

from typing import Any

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn

from image_translation.cli.errors import UserError
from image_translation.data.kinds import Kind
from image_translation.data.transforms import from_float, to_stored
from image_translation.metrics.image_scores import ImageScores, Scores, mean_metrics
from image_translation.models.baselines import Baselines
from image_translation.networks.sizes import fits, pad, size_limits

Batch = dict[str, Any]


class ScoredModule(LightningModule):
    """A ``generator`` that is validated and tested. ``ImageTranslationModule`` is what trains it."""

    generator: nn.Module

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.test_split, self.baselines = "test", Baselines(in_channels, out_channels)
        self.results: dict[str, dict[str, Scores]] = {}  # of each image, by split; and of each baseline
        self.extra_metrics: dict[str, Scores] = {}  # of a test, such as perceptual ones: its own by "", a baseline's
        self.outputs_finite: Tensor | bool = True
        self.trained_on: dict[str, Any] = {"background": "white"}  # see PairedImageDataModule.facts; it is saved
        self.set_protocol("standard")

    @property
    def input_kind(self) -> Kind:
        return Kind.of(self.trained_on.get("input"))

    @property
    def target_kind(self) -> Kind:
        return Kind.of(self.trained_on.get("target"))

    @property
    def leading_metric(self) -> str:
        """By which models for these targets are ranked."""
        return "val/miou" if self.target_kind.classes else "val/psnr"

    def known_metric(self, name: str) -> str:
        """A metric such as ``val/ssim``, or the leading one where these targets don't have it."""
        return name if name.rpartition("/")[2] in self.scores.functions else self.leading_metric

    def forward(self, x: Tensor) -> Tensor:
        """Images of any size (N, C, H, W) in [-1, 1] → (N, C', H, W), padded by reflection on the way if need be."""
        height, width = x.shape[-2:]
        limits = size_limits(self.generator)
        if fits(height, width, *limits):
            return self.generator.forward(x)  # type: ignore[no-any-return]  # not compiled: they come in many sizes
        return self.generator.forward(pad(x, *limits))[..., :height, :width]  # type: ignore[no-any-return]

    def set_protocol(self, protocol: str) -> None:
        """Which metrics are computed: ``standard``, or ``report`` to add the original study's."""
        kind = self.target_kind
        self.protocol, self.scores = protocol, ImageScores(protocol, **kind.scale)
        self.baselines.set_protocol(protocol, kind)

    def evaluation_step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Outputs and targets of a batch as they are saved and scored."""
        raw = self(batch["input"])
        self.outputs_finite = self.outputs_finite & raw.isfinite().all()
        output, target = to_stored(raw, self.target_kind), from_float(batch["target"], self.target_kind)
        self.scores.update(output, target, batch["name"])
        return output, target

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self.evaluation_step(batch)[0]

    def on_validation_epoch_end(self) -> None:
        self._log_scores(self.scores, "val", prog_bar=True)

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        output, target = self.evaluation_step(batch)
        self.baselines.update(batch["input"], target, batch["name"], self.target_kind)
        return output

    def on_test_epoch_end(self) -> None:
        for name, scores in {self.test_split: self.scores, **self.baselines.scores}.items():
            self._log_scores(scores, name)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return to_stored(self(batch["input"]), self.target_kind)

    def _log_scores(self, scores: ImageScores, split: str, prog_bar: bool = False) -> None:
        if not self.outputs_finite:
            raise UserError(
                f"After step {self.trainer.global_step} outputs of the model are NaN or infinite: training diverged. "
                "Try a lower model.optimizer.lr, gradient clipping, or trainer.precision=32-true."
            )
        self.results[split] = scores.compute()
        scores.reset()
        if split in self.baselines.scores and self.test_split != "test":
            split = f"{self.test_split}/{split}"
        for metric, value in self.mean_metrics(split.rpartition("/")[2]).items():
            name = metric if split == "test" and "/" in metric else f"{split}/{metric}"  # report/psnr of the test split
            self.log(name, value, prog_bar=prog_bar, sync_dist=True)  # equal on all devices already
        self.log_axes()

    def mean_metrics(self, name: str) -> Scores:
        """The means of the latest ``results`` of a split or a baseline."""
        return mean_metrics(self.results[name], self.target_kind.peak)

    def log_axes(self, **options: Any) -> None:
        """The x-axes of what is logged along with it: steps and epochs done."""
        ended = self.trainer.state.fn == TrainerFn.FITTING and not options.get("on_step")
        counts = {"step": self.trainer.global_step, "epoch": self.trainer.current_epoch + ended}
        # Filled on the device: copying a number there would wait for it.
        axes = {name: torch.full((), float(count), device=self.device) for name, count in counts.items()}
        self.log_dict(axes, sync_dist=not options.get("on_step"), **options)
