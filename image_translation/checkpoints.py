"""Checkpoints: written whole or not at all; they describe themselves, and nothing in them is executed."""

import errno
import logging
import pickle
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from image_translation.errors import UserError
from image_translation.files import whole
from image_translation.models import Translator

log = logging.getLogger(__name__)
LAST, EARLIER = "last.ckpt", "step_{}.ckpt"  # the states of a training


class SafeCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside the one that it replaces, which stays until the new one is on the disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        if not path.parent.parent.is_dir():
            raise UserError(
                f"{path.parent.parent} is gone, so the state of training can't be saved. The run ends here."
            )
        path.parent.mkdir(exist_ok=True)
        try:
            with whole(path) as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:  # torch hides the system's reason
            raise UserError(_why_not_written(path, error)) from error


def _why_not_written(path: Path, error: Exception) -> str:
    chain: list[BaseException] = [error]
    while link := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(link)
    reasons = [link for link in chain if isinstance(link, OSError)]
    reason = (reasons[-1].strerror or str(reasons[-1])) if reasons else str(error).splitlines()[0]
    last = " The one written before is intact." if path.exists() else ""
    advice = " Make room, and go on with resume=…" if reasons and reasons[-1].errno == errno.ENOSPC else ""
    return f"{path} can't be written: {reason}.{last}{advice}"


def load(path: str | Path, device: str | torch.device = "cpu") -> Translator:
    """Rebuild a trained model, ready to ``translate`` pictures.

    Args:
        path: a checkpoint, or a run folder, whose best checkpoint is taken.
        device: where the model goes.

    Raises:
        UserError: there is no such checkpoint, or it is damaged, or not one of this project's.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        path = path / "checkpoints" / "best.ckpt"
    checkpoint = read_checkpoint(path)
    name = str(checkpoint["image_translation"].get("model"))
    if name not in Translator.registry:
        raise UserError(f"{path}: model {name!r} is not known here; known are {', '.join(Translator.registry)}.")
    try:
        model = Translator.registry[name](**checkpoint["hyper_parameters"])
        model.load_state_dict(checkpoint["state_dict"])
    except (AttributeError, KeyError, RuntimeError, TypeError, UserError, ValueError) as error:
        raise UserError(f"{path}: the weights don't fit the {name} that it describes ({error}).") from error
    return model.to(device).eval()


class State(NamedTuple):
    """A whole state of a training, after so many steps."""

    path: Path
    step: int


def state_to_go_on_from(folder: Path, required: bool = False) -> State | None:
    """The latest state that is whole and finite: ``last.ckpt``, or an earlier one if that is damaged.

    Returns:
        None if no state was ever written, or, unless ``required``, none is sound.

    Raises:
        UserError: there are states, none is sound, and one is required.
    """
    reasons = []
    for path in (folder / LAST, *sorted(folder.glob(EARLIER.format("*")), reverse=True)):
        if path.exists():
            try:
                state = read_checkpoint(path)
                if "optimizer_states" not in state:
                    raise UserError(f"{path}: weights only, not the state of a training.")
                if not all(bool(value.isfinite().all()) for value in state["state_dict"].values()):
                    raise UserError(f"{path}: some weights are not finite.")
            except UserError as error:
                log.warning("%s", error)
                reasons.append(str(error))
            else:
                return State(path, state["global_step"])
    if required and reasons:
        raise UserError(f"There is no sound state to go on from, and nothing was changed. {reasons[0]}")
    return None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint of this project: tensors and plain values.

    Raises:
        UserError: it is missing, damaged, holds code, or comes from elsewhere.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint. Name a run folder, or a file in its folder checkpoints.")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path}: refused: no checkpoint, or one that holds more than tensors and plain values. Nothing was run."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{path}: damaged, or no checkpoint ({(str(error) or type(error).__name__).splitlines()[0]})."
        ) from error
    parts = ("image_translation", "hyper_parameters", "state_dict")
    if not isinstance(checkpoint, dict) or not all(isinstance(checkpoint.get(part), dict) for part in parts):
        raise UserError(f"{path}: not a checkpoint of image_translation; expected {', '.join(parts)} in it.")
    return checkpoint
