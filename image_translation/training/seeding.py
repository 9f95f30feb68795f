"""Random numbers that depend on the seed and the place in training alone, so that nothing has to be remembered.

Every step has its own, whatever ran before it in this process: a run that goes on draws what it would have drawn.
"""

import random

import numpy as np
import torch


def derive_seed(seed: int, *place: int) -> int:
    """A seed of its own for a place, as independent of its neighbors' as of anything."""
    return int(np.random.SeedSequence([seed, *place]).generate_state(1)[0])


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed all generators for one step on one device: jitter, dropout, and whatever a model draws."""
    number = derive_seed(seed, step, rank)
    torch.manual_seed(number)
    np.random.seed(number)
    random.seed(number)
