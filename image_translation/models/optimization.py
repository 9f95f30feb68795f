"""Optimizers and learning rate schedules from the factories that a config gives a model."""

import inspect
import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from image_translation.cli.errors import UserError
from image_translation.training.lightning_private import count_steps

OptimizerFactory = Callable[..., Optimizer]
SchedulerFactory = Callable[..., Any]
STUDY_OPTIMIZER = partial(Adam, lr=2e-4, betas=(0.5, 0.999))


def schedule_interval(factory: SchedulerFactory | None) -> str:
    """How often a schedule advances: every ``step`` if it has an argument ``total_steps``, else every ``epoch``."""
    return "step" if factory and "total_steps" in inspect.signature(factory).parameters else "epoch"


def make_optimizer(model: Any, parameters: Iterator[nn.Parameter]) -> Optimizer:
    """A model's optimizer of parameters, fused where that is faster and possible."""
    factory: OptimizerFactory = model.optimizer_factory
    fused = inspect.signature(factory).parameters.get("fused")
    options = {}
    if fused and fused.default is None and model.device.type in ("cpu", "cuda"):
        # A fused optimizer would unscale float16 gradients itself, after they have been clipped.
        options["fused"] = model.trainer.precision != "16-mixed"
    try:
        return factory(parameters, **options)
    except (TypeError, ValueError) as error:
        raise UserError(f"model.optimizer: {error}") from error


def parameters_of(optimizer: Any) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def clip_gradients(optimizer: Any, value: float, algorithm: str | None) -> None:
    """Limit unscaled gradients. Lightning's own clip_gradients refuses fused optimizers under autocast."""
    clip = nn.utils.clip_grad_value_ if algorithm == "value" else nn.utils.clip_grad_norm_
    clip(parameters_of(optimizer), value)


def make_schedule(model: Any, optimizer: Optimizer) -> Any:
    """A model's schedule of an optimizer's learning rate; UserError if it needs the steps of an endless training."""
    if model.schedule_interval == "epoch":
        return model.scheduler_factory(optimizer)
    return model.scheduler_factory(optimizer, total_steps=steps_of(model, "scheduler"))


def steps_of(model: Any, option: str) -> int:
    """The steps of a model's training, which an option needs; UserError if it is endless."""
    steps = count_steps(model.trainer, model.batches_per_step)
    if not 0 < steps < math.inf:
        known = "trainer.max_steps, or without data.streaming trainer.max_epochs"
        raise UserError(f"{option} needs the number of steps. Set {known}.")
    return int(steps)


def match_layouts(optimizers: Iterable[Optimizer]) -> None:
    """Give restored states the memory layout of their parameters.

    A checkpoint from another kind of device has another layout, which a fused optimizer does not notice.
    """
    for optimizer in optimizers:
        for parameter, state in optimizer.state.items():
            for name, value in state.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    state[name] = torch.empty_like(parameter).copy_(value)


def replay_schedule(schedule: Any, initial: dict[str, Any]) -> None:
    """Bring a restored schedule from its ``initial`` state to its place again: the training may be longer now."""
    if isinstance(schedule, ReduceLROnPlateau):  # it depends on the metrics that it has seen, not on the length
        return
    done = schedule.last_epoch
    schedule.load_state_dict(initial)
    for group, rate in zip(schedule.optimizer.param_groups, schedule.get_last_lr(), strict=True):
        group["lr"] = rate
    for _ in range(done):
        schedule.step()
