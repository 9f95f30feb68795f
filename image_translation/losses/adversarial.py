"""Adversarial losses on the discriminator's logits, computed in float32 whatever the precision of the networks."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class GANLoss:
    """The terms of an adversarial loss, each for single logits of any shape; the losses are their means."""

    real: Callable[[Tensor], Tensor]  # the discriminator's loss on real pairs
    fake: Callable[[Tensor], Tensor]  # the discriminator's loss on fake pairs
    generator: Callable[[Tensor], Tensor]
    score: Callable[[Tensor], Tensor] = lambda x: x  # for the logs: a probability where the logits stand for one
    boundary: float = 0.0  # above it, a logit means "real"

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """The mean of both terms, which slows the discriminator down (Isola et al. 2017, section 3.3)."""
        return (self.real(real.float()).mean() + self.fake(fake.float()).mean()) / 2

    def generator_loss(self, fake: Tensor) -> Tensor:
        return self.generator(fake.float()).mean()

    def accuracy(self, real: Tensor, fake: Tensor) -> Tensor:
        """The fraction of patches that the discriminator classifies correctly, 0 … 1."""
        return ((real.detach() > self.boundary).float().mean() + (fake.detach() <= self.boundary).float().mean()) / 2

    def mean_score(self, logits: Tensor) -> Tensor:
        return self.score(logits.detach().float()).mean()


GAN_LOSSES = {
    # Goodfellow et al. 2014, the generator maximizes log D; -log σ(x) = softplus(-x) and -log(1 - σ(x)) = softplus(x)
    "bce": GANLoss(
        real=lambda x: F.softplus(-x), fake=F.softplus, generator=lambda x: F.softplus(-x), score=torch.sigmoid
    ),
    # Mao et al. 2017, with the labels 1 and 0
    "lsgan": GANLoss(real=lambda x: (x - 1) ** 2, fake=torch.square, generator=lambda x: (x - 1) ** 2, boundary=0.5),
    # Lim and Ye 2017
    "hinge": GANLoss(real=lambda x: F.relu(1 - x), fake=lambda x: F.relu(1 + x), generator=torch.neg),
}
