"""What models with a discriminator share: two optimizers and their updates."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from image_translation.cli.errors import at_least
from image_translation.models import optimization
from image_translation.models.base import ImageTranslationModule
from image_translation.models.optimization import OptimizerFactory, SchedulerFactory


class AdversarialModule(ImageTranslationModule):
    """Trains ``generator`` and ``discriminator`` in turn, by manual optimization.

    A subclass sets both, and calls ``step`` for each of them in its ``training_step``.

    Args:
        gradient_clip_val: largest norm of each optimizer's gradient, 0 for no limit. (Under manual optimization
            Lightning leaves this and accumulation to the model.)
        accumulate_grad_batches: batches whose gradients are averaged for one update.
        optimizer, scheduler, compile, in_channels, out_channels: see ``ImageTranslationModule``; both networks get an
            optimizer and a schedule.
    """

    discriminator: nn.Module

    def __init__(
        self,
        gradient_clip_val: float = 0.0,
        accumulate_grad_batches: int = 1,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        compile: str = "off",  # noqa: A002
        in_channels: int = 3,
        out_channels: int = 3,
    ) -> None:
        super().__init__(optimizer, scheduler, compile, in_channels, out_channels)
        self.automatic_optimization = False
        at_least("gradient_clip_val", gradient_clip_val, 0)
        at_least("accumulate_grad_batches", accumulate_grad_batches, 1, whole=True)
        self.gradient_clip_val, self.accumulate_grad_batches = gradient_clip_val, accumulate_grad_batches

    @property
    def batches_per_step(self) -> int:
        return self.accumulate_grad_batches

    def configure_optimizers(self) -> Any:
        networks = (self.generator, self.discriminator)
        optimizers = [optimization.make_optimizer(self, network.parameters()) for network in networks]
        if self.scheduler_factory is None:
            return optimizers
        return optimizers, [optimization.make_schedule(self, optimizer) for optimizer in optimizers]

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
                config.scheduler.step(self.trainer.callback_metrics[self.leading_metric])
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
