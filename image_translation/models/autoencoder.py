"""The study's autoencoder, trained on the L1 distance alone."""

from typing import Unpack

import torch.nn.functional as F
from torch import Tensor, nn

from image_translation.errors import one_of
from image_translation.models.translator import Batch, Optimization, Translator
from image_translation.networks import ConvAutoencoder


class UNetAutoencoder(Translator):
    """A convolutional encoder and decoder with skip connections.

    Args:
        image_size: height and width of the pictures, a power of two.
        base_channels: width of the network's first layer.
        norm: ``instance`` (each picture's own statistics) or ``batch``.
        recompute: save memory in training: compute again what the backward pass needs (gradient checkpointing).
        optimization: see ``Optimization``.
    """

    def __init__(
        self,
        image_size: int = 256,
        base_channels: int = 128,
        norm: str = "instance",
        recompute: bool = False,
        **optimization: Unpack[Optimization],
    ) -> None:
        super().__init__(**optimization)
        self.save_hyperparameters(logger=False)
        one_of("model.recompute", recompute, (True, False))
        self.generator = ConvAutoencoder(
            image_size=image_size, base_channels=base_channels, norm=norm, recompute=recompute
        )

    def trained_networks(self) -> list[nn.Module]:
        return [self.generator]

    def optimize(self, batch: Batch) -> dict[str, Tensor]:
        l1 = F.l1_loss(self.generator(batch["input"]).float(), batch["target"])
        self.descend(0, l1)
        return {"l1": l1}
