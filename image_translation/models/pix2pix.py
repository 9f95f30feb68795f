"""Pix2Pix (Isola et al. 2017)."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from image_translation.cli.errors import at_least, one_of
from image_translation.losses.adversarial import GAN_LOSSES
from image_translation.models import optimization
from image_translation.models.base import Batch, ImageTranslationModule
from image_translation.models.optimization import OptimizerFactory, SchedulerFactory
from image_translation.networks import PatchGANDiscriminator, UNetGenerator


class Pix2Pix(ImageTranslationModule):
    """A U-Net generator trained by a PatchGAN discriminator and the L1 distance to the target.

    Args:
        image_size: height and width of the images, a power of two.
        base_channels: width of both networks' first layer.
        norm: ``instance`` (each image's own statistics) or ``batch``.
        dropout: probability in the generator's first decoder layers, while training.
        upsample: the generator's way up: ``transposed`` convolutions, or ``resize``, without a checkerboard.
        gan_loss: ``bce``, ``lsgan`` or ``hinge``.
        lambda_l1: weight of the L1 distance in the generator's loss.
        gradient_clip_val: largest norm of each optimizer's gradient, 0 for no limit. (Under manual optimization
            Lightning leaves this and accumulation to the model.)
        accumulate_grad_batches: batches whose gradients are averaged for one update.
        gradient_checkpointing: save memory in training by computing activations again in the backward pass.
        optimizer, scheduler, compile: see ``ImageTranslationModule``; both networks get one of each.
    """

    def __init__(
        self,
        image_size: int = 256,
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
    ) -> None:
        super().__init__(optimizer, scheduler, compile)
        self.automatic_optimization = False
        at_least("lambda_l1", lambda_l1, 0)
        at_least("gradient_clip_val", gradient_clip_val, 0)
        at_least("accumulate_grad_batches", accumulate_grad_batches, 1, whole=True)
        self.gan_loss = GAN_LOSSES[one_of("gan_loss", gan_loss, GAN_LOSSES)]
        self.lambda_l1, self.norm = lambda_l1, norm
        self.gradient_clip_val, self.accumulate_grad_batches = gradient_clip_val, accumulate_grad_batches
        networks = (3, 3, image_size, base_channels, norm)
        self.generator = UNetGenerator(*networks, dropout, gradient_checkpointing, upsample)
        self.discriminator = PatchGANDiscriminator(6, base_channels, norm, gradient_checkpointing)

    @property
    def batches_per_step(self) -> int:
        return self.accumulate_grad_batches

    def configure_optimizers(self) -> Any:
        networks = (self.generator, self.discriminator)
        optimizers = [optimization.make_optimizer(self, network.parameters()) for network in networks]
        if self.scheduler_factory is None:
            return optimizers
        return optimizers, [optimization.make_schedule(self, optimizer) for optimizer in optimizers]

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

    def step(self, optimizer: LightningOptimizer, loss: Tensor, batch_idx: int) -> None:
        """Backpropagate, and update the weights when enough gradients are accumulated."""
        network = self.trainer.model
        # The devices' gradients are averaged below, once an update.
        with network.no_sync() if isinstance(network, DistributedDataParallel) else nullcontext():
            self.manual_backward(loss / self.accumulate_grad_batches)
        if (batch_idx + 1) % self.accumulate_grad_batches and not self.trainer.is_last_batch:
            return
        if self.trainer.world_size > 1:
            self.average_gradients(optimizer)
        is_first = optimizer.optimizer is self.trainer.optimizers[0]
        if is_first:
            optimizer.step()
        else:  # not by LightningOptimizer.step, which would count a second step
            self.trainer.strategy.optimizer_step(optimizer.optimizer, closure=lambda: None)
        optimizer.zero_grad()
        if is_first and self.schedule_interval == "step":
            self.advance_schedules()

    def average_gradients(self, optimizer: LightningOptimizer) -> None:
        """Over the devices, in one exchange."""
        gradients = [p.grad for p in optimization.parameters_of(optimizer) if p.grad is not None]
        mean = self.trainer.strategy.reduce(torch.cat([g.flatten() for g in gradients]), reduce_op="mean")
        assert isinstance(mean, Tensor)
        parts = torch.split(mean, [g.numel() for g in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view(gradient.shape))

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        super().on_before_optimizer_step(optimizer)
        self.configure_gradient_clipping(optimizer, self.gradient_clip_val)

    def on_train_epoch_end(self) -> None:
        if self.schedule_interval == "epoch":
            self.advance_schedules()

    def advance_schedules(self) -> None:
        for config in self.trainer.lr_scheduler_configs:
            if isinstance(config.scheduler, ReduceLROnPlateau):
                config.scheduler.step(self.trainer.callback_metrics["val/psnr"])
            else:
                config.scheduler.step()


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Let gradients flow through a network, but into none of its parameters."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)
