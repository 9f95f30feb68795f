"""Spaces of options, as they are written on the command line."""

from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from image_translation.cli.errors import UserError


def read_space(space: Any) -> dict[str, BaseDistribution]:
    """By option what may be chosen: ``[low, high]``, ``[low, high, log]``, or one of a list; else a UserError."""
    if not isinstance(space, dict) or not space:
        example = "'tune.space={model.optimizer.lr: [1e-4, 1e-2, log]}'"
        raise UserError(f"tune.space is empty. Say what may be tried: {example}.")
    return {option: _distribution(str(option), values) for option, values in space.items()}


def _distribution(option: str, values: Any) -> BaseDistribution:
    if not isinstance(values, list) or len(values) < 2:
        raise UserError(f"tune.space: {option} must be [low, high], [low, high, log] or a list, got {values!r}.")
    (low, high), more = values[:2], values[2:]
    if more not in ([], ["log"]) or not {type(low), type(high)} <= {int, float}:
        return CategoricalDistribution(values)
    try:
        return (IntDistribution if type(low) is type(high) is int else FloatDistribution)(low, high, log=bool(more))
    except ValueError as error:
        raise UserError(f"tune.space: {option}={values!r}: {error}") from error
