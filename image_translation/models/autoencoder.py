"""The study's autoencoder, trained on the L1 distance alone."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from image_translation.models.base import Batch, ImageTranslationModule
from image_translation.models.optimization import OptimizerFactory, SchedulerFactory
from image_translation.networks import ConvAutoencoder


class UNetAutoencoder(ImageTranslationModule):
    """A convolutional encoder and decoder with skip connections.

    Args:
        image_size: height and width of the images, or one number for both: multiples of 32.
        depth: how often the images are halved; None: as often as ``image_size`` allows.
        base_channels: width of the network's first layer.
        norm: ``instance`` (each image's own statistics) or ``batch``.
        gradient_checkpointing: save memory in training by computing activations again in the backward pass.
        optimizer, scheduler, compile: see ``ImageTranslationModule``.
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
    ) -> None:
        super().__init__(optimizer, scheduler, compile)
        self.generator = ConvAutoencoder(3, 3, image_size, base_channels, norm, gradient_checkpointing, depth)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        l1 = F.l1_loss(self.generator(batch["input"]).float(), batch["target"])
        return {"loss": l1, "l1": l1.detach()}
