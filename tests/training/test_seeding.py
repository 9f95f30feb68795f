"""Random numbers depend on the seed and the place in training, and on nothing else."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from helpers.training import fit, make_data, make_model

from image_translation.cli.errors import UserError
from image_translation.training.seeding import seed_everything


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), torch.rand(1).item()


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "one"])
def test_a_seed_is_a_whole_number(seed: Any) -> None:
    with pytest.raises(UserError, match=rf"^seed must be a whole number from 0 to 4294967295.*got {seed!r}"):
        seed_everything(seed)


def test_without_a_seed_one_is_drawn_for_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    seed, first = seed_everything(None), draw()
    assert (seed_everything(None), draw()) == (seed, first)  # a process that Lightning starts has the variable
    monkeypatch.delenv("PL_GLOBAL_SEED")
    assert seed_everything(None) != seed


def test_batches_draw_the_same_whatever_was_drawn_before(comic_root: Path) -> None:
    class Drawing(pl.Callback):
        def __init__(self, others: int) -> None:
            self.others, self.drawn = others, list[tuple[float, ...]]()

        def on_train_batch_start(self, *_: Any) -> None:
            self.drawn.append(draw())
            for _ in range(self.others):
                draw()

    draws = [Drawing(0), Drawing(3), Drawing(0)]
    for seed, drawing in zip((0, 0, 1), draws, strict=True):
        fit(make_model("autoencoder"), make_data(comic_root, batch_size=3), seed=seed, max_epochs=2,
            limit_val_batches=0, callbacks=[drawing])  # fmt: skip
    assert draws[0].drawn == draws[1].drawn
    assert len({*draws[0].drawn, *draws[2].drawn}) == 8
