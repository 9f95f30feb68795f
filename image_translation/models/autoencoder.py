"""The study's autoencoder, trained on the L1 distance alone; on masks by cross-entropy."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from image_translation.losses.classes import cross_entropy
from image_translation.models.base import ImageTranslationModule
from image_translation.models.optimization import OptimizerFactory, SchedulerFactory
from image_translation.models.scoring import Batch
from image_translation.networks import ConvAutoencoder


class UNetAutoencoder(ImageTranslationModule):
    """A convolutional encoder and decoder with skip connections.

    Args:
        image_size: height and width of the images, or one number for both: multiples of 32.
        depth: how often the images are halved; None: as often as ``image_size`` allows.
        base_channels: width of the network's first layer.
        norm: ``instance`` (each image's own statistics) or ``batch``.
        gradient_checkpointing: save memory in training by computing activations again in the backward pass.
        optimizer, scheduler, compile, in_channels, out_channels: see ``ImageTranslationModule``.
    """

    def __init__(
        self,
        image_size: int | Sequence[int] = 256,
        depth: int | None = None,
        base_channels: int = 128,
        norm: str = "instance",
        gradient_checkpointing: bool = False,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        compile: str = "off",  # noqa: A002
        in_channels: int = 3,
        out_channels: int = 3,
    ) -> None:
        super().__init__(optimizer, scheduler, compile, in_channels, out_channels)
        self.generator = ConvAutoencoder(
            in_channels, out_channels, image_size, base_channels, norm, gradient_checkpointing, depth
        )

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        output, target = self.generator(batch["input"]), batch["target"]
        if self.target_kind.classes:
            return {"loss": cross_entropy(output, target)}
        l1 = F.l1_loss(output.float(), target)
        return {"loss": l1, "l1": l1.detach()}
