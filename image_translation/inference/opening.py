"""Opening what a command names: a model, and how its inputs are computed, by the user's own code if need be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.utils import get_class
from torch import Tensor

from image_translation.cli.app import instantiate
from image_translation.inference.checkpoints import load
from image_translation.runs.config import compose_saved
from image_translation.runs.folder import MANIFEST
from image_translation.training.device import device_type


def open_model(source: Path, device: str) -> tuple[Any, bool | Callable[[Tensor], Tensor]]:
    """The model of a run folder, a checkpoint or an exported file, and what a ``Predictor`` takes as ``derive``.

    Raises:
        UserError: see ``load``.
    """
    derive: bool | Callable[[Tensor], Tensor] = True
    if (source / MANIFEST).exists():  # the model, and what computes its inputs, may be the user's own
        trained, _ = compose_saved(source)
        get_class(trained.model._target_)
        datamodule = instantiate(trained.data, "data")
        derive = datamodule.facts["derive"] is not None and datamodule.derive
    return load(source, device_type(device)), derive
