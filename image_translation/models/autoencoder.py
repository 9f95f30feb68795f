"""The study's autoencoder, trained on the L1 distance alone."""

from typing import Unpack

import torch.nn.functional as F
from torch import Tensor, nn

from image_translation.cli.errors import one_of
from image_translation.models.base import Batch, ImageTranslationModule, Optimization
from image_translation.networks import ConvAutoencoder


class UNetAutoencoder(ImageTranslationModule):
    """A convolutional encoder and decoder with skip connections.

    Args:
        image_size: height and width of the images, a power of two.
        base_channels: width of the network's first layer.
        norm: ``instance`` (each image's own statistics) or ``batch``.
        gradient_checkpointing: save memory in training: compute again what the backward pass needs (gradient checkpointing).
        optimization: see ``Optimization``.
    """

    def __init__(
        self,
        image_size: int = 256,
        base_channels: int = 128,
        norm: str = "instance",
        gradient_checkpointing: bool = False,
        **optimization: Unpack[Optimization],
    ) -> None:
        super().__init__(**optimization)
        self.save_hyperparameters(logger=False)
        one_of("model.gradient_checkpointing", gradient_checkpointing, (True, False))
        self.generator = ConvAutoencoder(
            image_size=image_size, base_channels=base_channels, norm=norm, gradient_checkpointing=gradient_checkpointing
        )

    def trained_networks(self) -> list[nn.Module]:
        return [self.generator]

    def optimize(self, batch: Batch) -> dict[str, Tensor]:
        l1 = F.l1_loss(self.generator(batch["input"]).float(), batch["target"])
        self.descend(0, l1)
        return {"l1": l1}
