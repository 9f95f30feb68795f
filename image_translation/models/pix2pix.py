"""Pix2Pix (Isola et al. 2017)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from image_translation.cli.errors import at_least, one_of
from image_translation.losses.adversarial import GAN_LOSSES
from image_translation.models.base import Batch, ImageTranslationModule, Optimization
from image_translation.networks import PatchGANDiscriminator, UNetGenerator


class Pix2Pix(ImageTranslationModule):
    """A U-Net generator trained by a PatchGAN discriminator and the L1 distance to the target.

    Args:
        image_size: height and width of the images, a power of two.
        base_channels: width of both networks' first layer.
        norm: ``instance`` (each image's own statistics) or ``batch``.
        dropout: probability in the generator's first decoder layers, while training.
        gan_loss: ``bce``, ``lsgan`` or ``hinge``.
        lambda_l1: weight of the L1 distance in the generator's loss.
        gradient_checkpointing: save memory in training: compute again what the backward pass needs (gradient checkpointing).
        optimization: see ``Optimization``.
    """

    def __init__(
        self,
        image_size: int = 256,
        base_channels: int = 64,
        norm: str = "instance",
        dropout: float = 0.5,
        gan_loss: str = "bce",
        lambda_l1: float = 100.0,
        gradient_checkpointing: bool = False,
        **optimization: Unpack[Optimization],
    ) -> None:
        super().__init__(**optimization)
        self.save_hyperparameters(logger=False)
        at_least("model.lambda_l1", lambda_l1, 0)
        one_of("model.gradient_checkpointing", gradient_checkpointing, (True, False))
        self.gan_loss = GAN_LOSSES[one_of("model.gan_loss", gan_loss, GAN_LOSSES)]
        self.lambda_l1, self.norm = lambda_l1, norm
        shared: dict[str, Any] = {
            "base_channels": base_channels,
            "norm": norm,
            "gradient_checkpointing": gradient_checkpointing,
        }
        self.generator = UNetGenerator(image_size=image_size, dropout=dropout, **shared)
        self.discriminator = PatchGANDiscriminator(**shared)

    def trained_networks(self) -> list[nn.Module]:
        return [self.generator, self.discriminator]

    def optimize(self, batch: Batch) -> dict[str, Tensor]:
        x, y = batch["input"], batch["target"]
        fake = self.generator(x)

        real_logits, fake_logits = self.judge(x, y, fake.detach())
        discriminator_loss = self.gan_loss.discriminator_loss(real_logits, fake_logits)
        self.descend(1, discriminator_loss)

        with frozen(self.discriminator):
            gan = self.gan_loss.generator_loss(self.discriminator(x, fake))
            l1 = F.l1_loss(fake.float(), y)
            self.descend(0, gan + self.lambda_l1 * l1)

        return {
            "l1": l1,
            "gan": gan,
            "discriminator": discriminator_loss,
            "score_real": self.gan_loss.mean_score(real_logits),
            "score_fake": self.gan_loss.mean_score(fake_logits),
            "accuracy": self.gan_loss.accuracy(real_logits, fake_logits),
        }

    def epoch_means(self) -> dict[str, float]:
        means = super().epoch_means()
        if "train/gan" in means and means["train/discriminator"]:
            means["train/loss_ratio"] = means["train/gan"] / means["train/discriminator"]
        return means

    def judge(self, x: Tensor, y: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """The discriminator's logits on real and on fake pairs.

        In one pass, unless its norm would mix them, or memory is to be saved.
        """
        if self.norm == "batch" or self.discriminator.gradient_checkpointing:
            return self.discriminator(x, y), self.discriminator(x, fake)
        real_logits, fake_logits = self.discriminator(torch.cat([x, x]), torch.cat([y, fake.to(y.dtype)])).chunk(2)
        return real_logits, fake_logits


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Let gradients flow through a network, but into none of its parameters."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)
