"""Pix2Pix (Isola et al. 2017)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from image_translation.cli.errors import at_least, one_of
from image_translation.losses.adversarial import GAN_LOSSES
from image_translation.models.adversarial import AdversarialModule, frozen
from image_translation.models.optimization import OptimizerFactory, SchedulerFactory
from image_translation.models.scoring import Batch
from image_translation.networks import PatchGANDiscriminator, UNetGenerator


class Pix2Pix(AdversarialModule):
    """A U-Net generator trained by a PatchGAN discriminator and the L1 distance to the target.

    Args:
        image_size: height and width of the images, or one number for both: multiples of 32.
        depth: how often the images are halved; None: as often as ``image_size`` allows.
        base_channels: width of both networks' first layer.
        norm: ``instance`` (each image's own statistics) or ``batch``.
        dropout: probability in the generator's first decoder layers, while training.
        upsample: the generator's way up: ``transposed`` convolutions, or ``resize``, without a checkerboard.
        gan_loss: ``bce``, ``lsgan`` or ``hinge``.
        lambda_l1: weight of the L1 distance in the generator's loss.
        gradient_checkpointing: save memory in training by computing activations again in the backward pass.
        gradient_clip_val, accumulate_grad_batches, optimizer, scheduler, compile, in_channels, out_channels: see
            ``AdversarialModule``.
    """

    def __init__(
        self,
        image_size: int | Sequence[int] = 256,
        depth: int | None = None,
        base_channels: int = 64,
        norm: str = "instance",
        dropout: float = 0.5,
        upsample: str = "transposed",
        gan_loss: str = "bce",
        lambda_l1: float = 100.0,
        gradient_clip_val: float = 0.0,
        accumulate_grad_batches: int = 1,
        gradient_checkpointing: bool = False,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        compile: str = "off",  # noqa: A002
        in_channels: int = 3,
        out_channels: int = 3,
    ) -> None:
        channels = in_channels, out_channels
        super().__init__(gradient_clip_val, accumulate_grad_batches, optimizer, scheduler, compile, *channels)
        at_least("lambda_l1", lambda_l1, 0)
        self.gan_loss = GAN_LOSSES[one_of("gan_loss", gan_loss, GAN_LOSSES)]
        self.lambda_l1, self.norm = lambda_l1, norm
        networks = (*channels, image_size, base_channels, norm)
        self.generator = UNetGenerator(*networks, dropout, gradient_checkpointing, upsample, depth)
        self.discriminator = PatchGANDiscriminator(sum(channels), base_channels, norm, gradient_checkpointing)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        x, y = batch["input"], batch["target"]
        generator_optimizer, discriminator_optimizer = self.optimizers()  # type: ignore[attr-defined]
        fake = self.generator(x)

        losses = self.discriminator_losses(x, y, fake.detach())
        self.step(discriminator_optimizer, losses["discriminator"], batch_idx)

        with frozen(self.discriminator):
            losses |= self.generator_losses(x, y, fake)
            self.step(generator_optimizer, losses["loss"], batch_idx)
        return {name: value.detach() for name, value in losses.items()}

    def discriminator_losses(self, x: Tensor, y: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """The discriminator's loss ``discriminator``, and how well it classifies, on real and fake targets of ``x``."""
        if self.norm == "batch" or self.discriminator.gradient_checkpointing:
            real_logits, fake_logits = self.discriminator(x, y), self.discriminator(x, fake)
        else:  # in one pass, because no norm mixes the images
            both = self.discriminator(torch.cat([x, x]), torch.cat([y, fake.to(y.dtype)]))
            real_logits, fake_logits = both.chunk(2)
        return {
            "discriminator": self.gan_loss.discriminator_loss(real_logits, fake_logits),
            "score_real": self.gan_loss.mean_score(real_logits),
            "score_fake": self.gan_loss.mean_score(fake_logits),
            "accuracy": self.gan_loss.accuracy(real_logits, fake_logits),
        }

    def generator_losses(self, x: Tensor, y: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """The generator's ``loss`` = gan + λ·l1, and its parts."""
        gan = self.gan_loss.generator_loss(self.discriminator(x, fake))
        l1 = F.l1_loss(fake.float(), y)
        return {"loss": gan + self.lambda_l1 * l1, "gan": gan, "l1": l1}
