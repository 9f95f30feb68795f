"""What a run costs, against counts by hand."""

import time
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import SIZE
from helpers.training import NAMES, make_model, multiply_adds
from torch import nn

from image_translation.callbacks.throughput import Throughput, flops_per_image
from image_translation.models import Identity


@pytest.mark.parametrize("name", NAMES)
def test_flops_are_two_for_each_multiply_add_of_the_generator(name: str) -> None:
    model = make_model(name)
    assert flops_per_image(model, SIZE) == 2 * sum(multiply_adds(model.generator, torch.zeros(1, 3, SIZE, SIZE)))
    assert flops_per_image(Identity(), SIZE) == 0
    model.generator = nn.Conv2d(3, 8, 3, padding=1)
    assert flops_per_image(model.train(), 16) == 2 * 16 * 16 * 3 * 8 * 9
    assert model.training  # as it was


def test_training_time_is_without_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    trainer, module = SimpleNamespace(world_size=2), SimpleNamespace(device=torch.device("cpu"))
    hooks: Any = Throughput()
    for _ in range(3):
        hooks.on_train_epoch_start(trainer, module)
        now += 10
        hooks.on_train_batch_end(trainer, module, None, {"name": ["a", "b"]}, 0)
        hooks.on_validation_start(trainer, module)
        now += 100
        hooks.on_validation_end(trainer, module)
        now += 1
        hooks.on_train_epoch_end(trainer, module)
    assert hooks.facts["training_s"] == 33
    assert hooks.facts["training_images_per_s"] == pytest.approx(3 * 2 * 2 / 33, rel=1e-3)

    later: Any = Throughput()  # of the resumed run
    later.load_state_dict(hooks.state_dict())
    later.on_train_epoch_start(trainer, module)
    now += 7
    later.on_train_epoch_end(trainer, module)
    assert later.facts["training_s"] == 40
