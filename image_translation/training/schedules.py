"""Learning rate schedules: ``model/scheduler=…``. Any class of ``torch.optim.lr_scheduler`` will do as well."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from image_translation.cli.errors import UserError, at_least


def linear_decay(optimizer: Optimizer, max_epochs: int, decay_epochs: int) -> LambdaLR:
    """Constant, then linear to zero over the last epochs (Isola et al. 2017).

    Args:
        optimizer: its learning rate is the start.
        max_epochs: epochs of the training.
        decay_epochs: how many of them the rate falls.

    Raises:
        UserError: there are fewer epochs than the rate is to fall.
    """
    at_least("decay_epochs", decay_epochs, 0, whole=True)
    if decay_epochs > max_epochs:
        raise UserError(f"decay_epochs={decay_epochs} needs at least as many trainer.max_epochs, got {max_epochs}.")

    def factor(epoch: int) -> float:
        return max(0.0, min(1.0, (max_epochs - epoch) / (decay_epochs + 1)))

    return LambdaLR(optimizer, factor)


def warmup_cosine(
    optimizer: Optimizer, total_steps: int, warmup_steps: int = 100, final_factor: float = 0.0
) -> LambdaLR:
    """Linear from zero over the first steps, then half a cosine down (Loshchilov and Hutter 2017, without restarts).

    Args:
        optimizer: its learning rate is the highest.
        total_steps: updates of the training.
        warmup_steps: how many of them the rate rises.
        final_factor: the last rate in parts of the highest.
    """
    at_least("warmup_steps", warmup_steps, 0, whole=True)
    at_least("final_factor", final_factor, 0)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
        return final_factor + (1 - final_factor) * (1 + math.cos(math.pi * progress)) / 2

    return LambdaLR(optimizer, factor)
