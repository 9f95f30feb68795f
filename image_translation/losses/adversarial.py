"""Adversarial losses on the discriminator's logits, in float32 whatever the precision of the networks."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class GANLoss:
    """What the discriminator minimizes on real and on fake logits, what the generator minimizes on fake ones, and the
    score that is logged (a probability, where the logits stand for one)."""

    real: Callable[[Tensor], Tensor]
    fake: Callable[[Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]
    score: Callable[[Tensor], Tensor]
    boundary: float  # logits above it call a pair real

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Half the sum of both parts, to slow the discriminator down (Isola et al. 2017, section 3.3)."""
        return (self.real(real.float()) + self.fake(fake.float())) / 2

    def generator_loss(self, fake: Tensor) -> Tensor:
        return self.generator(fake.float())

    def accuracy(self, real: Tensor, fake: Tensor) -> Tensor:
        """The part of all patches that the discriminator tells right."""
        right = [(real.detach() > self.boundary).float().mean(), (fake.detach() <= self.boundary).float().mean()]
        return (right[0] + right[1]) / 2

    def mean_score(self, logits: Tensor) -> Tensor:
        return self.score(logits.detach().float()).mean()


def _bce(is_real: bool) -> Callable[[Tensor], Tensor]:
    # -log σ(x) = softplus(-x), and -log(1 - σ(x)) = softplus(x)
    return lambda x: F.softplus(-x if is_real else x).mean()


GAN_LOSSES = {
    # Goodfellow et al. 2014, with the generator maximizing log D
    "bce": GANLoss(_bce(True), _bce(False), _bce(True), torch.sigmoid, 0.0),
    # Mao et al. 2017, targets 1 and 0
    "lsgan": GANLoss(
        real=lambda x: (x - 1).square().mean(),
        fake=lambda x: x.square().mean(),
        generator=lambda x: (x - 1).square().mean(),
        score=lambda x: x,
        boundary=0.5,
    ),
    # Lim and Ye 2017
    "hinge": GANLoss(
        real=lambda x: F.relu(1 - x).mean(),
        fake=lambda x: F.relu(1 + x).mean(),
        generator=lambda x: -x.mean(),
        score=lambda x: x,
        boundary=0.0,
    ),
}
