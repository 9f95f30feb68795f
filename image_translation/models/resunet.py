"""A residual U-Net that starts from the color curve: the model to beat (docs/models.md)."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer
from torchmetrics.functional.image import structural_similarity_index_measure

from image_translation.cli.errors import UserError, at_least
from image_translation.models.base import Batch, ImageTranslationModule
from image_translation.models.optimization import OptimizerFactory, SchedulerFactory
from image_translation.networks import ResidualUNet

EPSILON = 0.22  # for values in [-1, 1]


class ResUNet(ImageTranslationModule):
    """Learns what the color curve leaves, by a robust distance and SSIM.

    The distance of a value is √(d² + ε²) (Charbonnier et al. 1994), with ε 28 of 255 steps. Where a target can only be
    guessed, as colors can, the mean of the guesses has the best PSNR, and errors below ε count as squares, which learns
    it; larger ones don't outweigh the rest. docs/models.md compares it with others.

    Args:
        base_channels: channels at half the resolution, a multiple of 8.
        depth: levels; the lowest is at 1/2^depth of the resolution.
        ssim_weight: weight of 1 − SSIM beside the distance.
        gradient_clip_val: largest norm of the gradient, unless ``trainer.gradient_clip_val`` is set; 0 for no limit.
        gradient_checkpointing: save memory in training by computing activations again in the backward pass.
        optimizer, scheduler, compile: see ``ImageTranslationModule``.
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
    ) -> None:
        super().__init__(optimizer, scheduler, compile)
        at_least("ssim_weight", ssim_weight, 0)
        at_least("gradient_clip_val", gradient_clip_val, 0)
        self.ssim_weight, self.gradient_clip_val, self.depth = ssim_weight, gradient_clip_val, depth
        self.generator = ResidualUNet(3, 3, base_channels, depth, gradient_checkpointing)

    def setup(self, stage: str) -> None:
        super().setup(stage)
        image_size: int = self.trainer.datamodule.image_size  # type: ignore[attr-defined]
        if image_size < 2**self.depth:
            raise UserError(f"model.depth={self.depth} needs a data.image_size of at least {2**self.depth}.")
        if stage == "fit" and self.trainer.ckpt_path is None:
            self.generator.get_submodule("curve").load_state_dict(self.baselines.color_curve.state_dict())

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        output, target = self.generator(batch["input"]).float(), batch["target"]
        distance = ((output - target).square() + EPSILON**2).sqrt().mean()
        with torch.autocast(output.device.type, enabled=False):
            pair = (output.clamp(-1, 1) + 1) / 2, (target + 1) / 2
            ssim = structural_similarity_index_measure(*pair, data_range=1.0)
        assert isinstance(ssim, Tensor)
        loss = distance + self.ssim_weight * (1 - ssim)
        return {"loss": loss, "l1": F.l1_loss(output.detach(), target), "ssim": ssim.detach()}

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        value = self.gradient_clip_val if gradient_clip_val is None else gradient_clip_val
        super().configure_gradient_clipping(optimizer, value, gradient_clip_algorithm)
