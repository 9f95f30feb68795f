"""Learning rate schedules, by hand."""

from typing import Any

import pytest
from helpers.training import rates_of

from image_translation.cli.errors import UserError
from image_translation.training.schedules import linear_decay, warmup_cosine


@pytest.mark.parametrize(("schedule", "options", "expected"), [
    (linear_decay, {"max_epochs": 5, "decay_epochs": 3}, [1, 1, 0.75, 0.5, 0.25]),
    (linear_decay, {"max_epochs": 3, "decay_epochs": 0}, [1, 1, 1]),
    (linear_decay, {"max_epochs": 3, "decay_epochs": 3}, [0.75, 0.5, 0.25]),
    (linear_decay, {"max_epochs": 2, "decay_epochs": 1}, [1, 0.5, 0, 0]),  # and never below zero
    (warmup_cosine, {"total_steps": 6, "warmup_steps": 2},
     [1 / 3, 2 / 3, 1, 0.5 + 0.125**0.5, 0.5, 0.5 - 0.125**0.5, 0, 0]),
    (warmup_cosine, {"total_steps": 2, "warmup_steps": 0, "final_factor": 0.5}, [1, 0.75, 0.5, 0.5]),
    (warmup_cosine, {"total_steps": 2, "warmup_steps": 3}, [0.25, 0.5, 0.75, 1]),
])  # fmt: skip
def test_rates(schedule: Any, options: dict[str, Any], expected: list[float]) -> None:
    assert rates_of(schedule, len(expected), **options) == pytest.approx(expected)


@pytest.mark.parametrize(("schedule", "options", "text"), [
    (linear_decay, {"max_epochs": 2, "decay_epochs": 3}, "decay_epochs=3 needs at least as many .*got 2"),
    (linear_decay, {"max_epochs": 2, "decay_epochs": -1}, "decay_epochs must be at least 0"),
    (warmup_cosine, {"total_steps": 2, "warmup_steps": 0.5}, "warmup_steps must be a whole number"),
    (warmup_cosine, {"total_steps": 2, "final_factor": -1}, "final_factor must be at least 0"),
])  # fmt: skip
def test_options_out_of_range(schedule: Any, options: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError, match=f"^{text}"):
        rates_of(schedule, 1, **options)
