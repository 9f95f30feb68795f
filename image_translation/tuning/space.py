"""Spaces of options, as they are written on the command line."""

from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from image_translation.cli.errors import UserError

Space = dict[str, BaseDistribution]


def read_space(space: Any) -> Space:
    """By option what may be chosen: ``[low, high]``, ``[low, high, log]``, or one of a list; else a UserError."""
    if not isinstance(space, Mapping) or not space:
        example = "'tune.space={model.optimizer.lr: [1e-4, 1e-2, log]}'"
        raise UserError(f"tune.space is empty. Say what may be tried: {example}.")
    return {option: _distribution(str(option), values) for option, values in space.items()}


def _distribution(option: str, values: Any) -> BaseDistribution:
    if not isinstance(values, list) or len(values) < 2:
        raise UserError(f"tune.space: {option} must be [low, high], [low, high, log] or a list, got {values!r}.")
    low, high, *more = values
    if any(type(number) not in (int, float) for number in (low, high)) or more not in ([], ["log"]):
        return CategoricalDistribution(values)
    try:
        if type(low) is type(high) is int:
            return IntDistribution(low, high, log=bool(more))
        return FloatDistribution(low, high, log=bool(more))
    except ValueError as error:
        raise UserError(f"tune.space: {option}={values!r}: {error}") from error


def holds(distribution: BaseDistribution, value: Any) -> bool:
    """Whether a value is one that may be chosen."""
    if isinstance(distribution, FloatDistribution | IntDistribution):
        return type(value) in (int, float) and distribution.low <= value <= distribution.high
    return value in distribution.choices  # type: ignore[attr-defined]
