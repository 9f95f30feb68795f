"""The residual U-Net with a discriminator: sharper, at the price of PSNR and SSIM."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from image_translation.cli.errors import UserError, at_least, one_of
from image_translation.losses.adversarial import GAN_LOSSES
from image_translation.losses.augmentation import diff_augment
from image_translation.losses.reconstruction import charbonnier_ssim, texture_distance
from image_translation.models.adversarial import AdversarialModule, frozen
from image_translation.models.optimization import OptimizerFactory, SchedulerFactory, steps_of
from image_translation.models.resunet import start_at_curve
from image_translation.models.scoring import Batch
from image_translation.networks import MultiScaleDiscriminator, ResidualUNet

ADVERSARIAL = ("discriminator", "score_real", "score_fake", "accuracy", "gan", "features", "texture")  # losses
SMALLEST = 64  # pixels: at half of it a discriminator has one patch


class ResUNetGAN(AdversarialModule):
    """A residual U-Net that is trained like ``ResUNet`` at first; then a discriminator joins in.

    The discriminator is a PatchGAN at two scales. The generator's loss is that of ``ResUNet``, plus the adversarial
    one, plus the distances of the discriminator's features (Wang et al. 2018, pix2pixHD) and of the texture.
    ``interpolate`` goes back towards the weights from before the discriminator.

    Args:
        base_channels, depth, ssim_weight, gradient_checkpointing: see ``ResUNet``.
        gan_start: the part of the training after which the discriminator joins in, from 0 to 1.
        gan_loss: ``bce``, ``lsgan`` or ``hinge``.
        lambda_gan: weight of the adversarial loss.
        lambda_features: weight of the distance of the features.
        lambda_texture: weight of the distance of the texture (``losses.reconstruction``).
        discriminator_channels: width of the discriminator's first layers.
        discriminator_norm: ``instance``, or ``spectral`` for limited weights instead (Miyato et al. 2018).
        diff_augment: augment what the discriminator sees, for few images.
        gradient_clip_val, accumulate_grad_batches, optimizer, scheduler, compile, in_channels, out_channels: see
            ``AdversarialModule``.
    """

    best_by = None  # the best PSNR would be that from before the discriminator

    def __init__(
        self,
        base_channels: int = 32,
        depth: int = 4,
        ssim_weight: float = 0.4,
        gan_start: float = 0.6,
        gan_loss: str = "hinge",
        lambda_gan: float = 0.1,
        lambda_features: float = 0.5,
        lambda_texture: float = 1.0,
        discriminator_channels: int = 32,
        discriminator_norm: str = "instance",
        diff_augment: bool = False,
        gradient_clip_val: float = 1.0,
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
        for name, value in (("ssim_weight", ssim_weight), ("gan_start", gan_start),
                            ("lambda_gan", lambda_gan), ("lambda_features", lambda_features),
                            ("lambda_texture", lambda_texture)):  # fmt: skip
            at_least(name, value, 0)
        if gan_start > 1:
            raise UserError(f"gan_start must be at most 1, got {gan_start}.")
        self.gan_loss = GAN_LOSSES[one_of("gan_loss", gan_loss, GAN_LOSSES)]
        self.ssim_weight, self.gan_start = ssim_weight, gan_start
        self.lambdas = {"gan": lambda_gan, "features": lambda_features, "texture": lambda_texture}
        self.diff_augment = one_of("diff_augment", diff_augment, (True, False))
        one_of("discriminator_norm", discriminator_norm, ("instance", "spectral"))  # batch norm would mix real and fake
        self.generator = ResidualUNet(*channels, base_channels, depth, gradient_checkpointing)
        self.discriminator = MultiScaleDiscriminator(sum(channels), discriminator_channels, norm=discriminator_norm)
        self.register_buffer("start", self.weights())  # of the generator when the discriminator joined in
        self.start: Tensor

    def setup(self, stage: str) -> None:
        super().setup(stage)
        start_at_curve(self, stage)
        if min(self.trainer.datamodule.sides) < SMALLEST:  # type: ignore[attr-defined]
            raise UserError(f"resunet_gan needs a data.image_size of at least {SMALLEST}.")

    def configure_optimizers(self) -> Any:
        self.first_gan_step = int(self.gan_start * steps_of(self, "gan_start")) if self.gan_start else 0
        return super().configure_optimizers()

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        x, y = batch["input"], batch["target"]
        generator_optimizer, discriminator_optimizer = self.optimizers()  # type: ignore[attr-defined]
        fake = self.generator(x)
        loss, ssim = charbonnier_ssim(fake, y, self.ssim_weight)
        losses = {"loss": loss, "l1": F.l1_loss(fake.detach().float(), y), "ssim": ssim}
        if self.trainer.global_step < self.first_gan_step:
            self.step(generator_optimizer, loss, batch_idx)
            return losses | dict.fromkeys(ADVERSARIAL, torch.zeros_like(ssim)) | {"loss": loss.detach()}
        if self.trainer.global_step == self.first_gan_step:
            self.start.copy_(self.weights())

        images = diff_augment([x, y, fake]) if self.diff_augment else [x, y, fake]
        losses |= self.discriminator_losses(images[0], images[1], images[2].detach())
        self.step(discriminator_optimizer, losses["discriminator"], batch_idx)

        with frozen(self.discriminator):
            losses |= self.generator_losses(images[0], images[1], images[2])
            losses["texture"] = texture_distance(x, fake, y)
            losses["loss"] = loss + sum(weight * losses[name] for name, weight in self.lambdas.items())
            self.step(generator_optimizer, losses["loss"], batch_idx)
        return {name: value.detach() for name, value in losses.items()}

    def discriminator_losses(self, x: Tensor, y: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """The discriminator's loss ``discriminator``, and how well it classifies; means over its scales."""
        both = self.discriminator(torch.cat([x, x]), torch.cat([y, fake.to(y.dtype)]))
        logits = [maps[-1].chunk(2) for maps in both]
        of_scales = [{
            "discriminator": self.gan_loss.discriminator_loss(real, fake),
            "score_real": self.gan_loss.mean_score(real),
            "score_fake": self.gan_loss.mean_score(fake),
            "accuracy": self.gan_loss.accuracy(real, fake),
        } for real, fake in logits]  # fmt: skip
        return {name: torch.stack([losses[name] for losses in of_scales]).mean() for name in of_scales[0]}

    def generator_losses(self, x: Tensor, y: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """``gan``, and ``features``: the mean distance of the discriminator's maps of ``fake`` from those of ``y``."""
        with torch.no_grad():
            real_maps = self.discriminator(x, y)
        fake_maps = self.discriminator(x, fake)
        gan = torch.stack([self.gan_loss.generator_loss(maps[-1]) for maps in fake_maps]).mean()
        distances = [F.l1_loss(fake.float(), real.float()) for fakes, reals in zip(fake_maps, real_maps, strict=True)
                     for fake, real in zip(fakes[:-1], reals[:-1], strict=True)]  # fmt: skip
        return {"gan": gan, "features": torch.stack(distances).mean()}

    def weights(self) -> Tensor:
        """All of the generator's weights, (parameters,)."""
        return torch.cat([p.detach().flatten() for p in self.generator.parameters()])

    @torch.no_grad()
    def interpolate(self, alpha: float) -> None:
        """Go back to the weights from before the discriminator (``alpha`` 0), or part of the way (Wang et al. 2018)."""
        parameters = list(self.generator.parameters())
        mixed = torch.lerp(self.start, self.weights(), alpha)
        parts = torch.split(mixed, [p.numel() for p in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.copy_(part.view(parameter.shape))
