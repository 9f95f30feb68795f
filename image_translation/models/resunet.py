"""A residual U-Net that starts from the color curve: the model to beat (docs/models.md)."""

import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer

from image_translation.cli.errors import at_least
from image_translation.losses.classes import cross_entropy
from image_translation.losses.reconstruction import charbonnier_ssim
from image_translation.models.base import ImageTranslationModule
from image_translation.models.optimization import OptimizerFactory, SchedulerFactory
from image_translation.models.scoring import Batch
from image_translation.networks import ResidualUNet


class ResUNet(ImageTranslationModule):
    """Learns what the color curve leaves, by a robust distance and SSIM (``losses.reconstruction``).

    If targets are masks, it learns by cross-entropy.

    Args:
        base_channels: channels at half the resolution, a multiple of 8.
        depth: levels; the lowest is at 1/2^depth of the resolution.
        ssim_weight: weight of 1 − SSIM beside the distance.
        gradient_clip_val: largest norm of the gradient, unless ``trainer.gradient_clip_val`` is set; 0 for no limit.
        gradient_checkpointing: save memory in training by computing activations again in the backward pass.
        optimizer, scheduler, compile, in_channels, out_channels: see ``ImageTranslationModule``.
    """

    def __init__(
        self,
        base_channels: int = 32,
        depth: int = 4,
        ssim_weight: float = 0.4,
        gradient_clip_val: float = 1.0,
        gradient_checkpointing: bool = False,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        compile: str = "off",  # noqa: A002
        in_channels: int = 3,
        out_channels: int = 3,
    ) -> None:
        super().__init__(optimizer, scheduler, compile, in_channels, out_channels)
        at_least("ssim_weight", ssim_weight, 0)
        at_least("gradient_clip_val", gradient_clip_val, 0)
        self.ssim_weight, self.gradient_clip_val = ssim_weight, gradient_clip_val
        self.generator = ResidualUNet(in_channels, out_channels, base_channels, depth, gradient_checkpointing)

    def setup(self, stage: str) -> None:
        super().setup(stage)
        start_at_curve(self, stage)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        output, target = self.generator(batch["input"]), batch["target"]
        if self.target_kind.classes:
            return {"loss": cross_entropy(output, target)}
        loss, ssim = charbonnier_ssim(output, target, self.ssim_weight)
        return {"loss": loss, "l1": F.l1_loss(output.detach().float(), target), "ssim": ssim}

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        value = self.gradient_clip_val if gradient_clip_val is None else gradient_clip_val
        super().configure_gradient_clipping(optimizer, value, gradient_clip_algorithm)


def start_at_curve(model: ImageTranslationModule, stage: str) -> None:
    """Give a residual U-Net the fitted color curve."""
    network: ResidualUNet = model.generator  # type: ignore[assignment]
    if stage == "fit" and model.trainer.ckpt_path is None:
        network.curve.load_state_dict(model.baselines.color_curve.state_dict())
