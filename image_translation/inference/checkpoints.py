"""Reading checkpoints: they describe themselves, and nothing in them is executed."""

import json
import logging
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from pickletools import genops
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from image_translation.cli.errors import UserError
from image_translation.models import ImageTranslationModule

log = logging.getLogger(__name__)
CHECKPOINT_PARTS = {"global_step": int, "epoch": int, "loops": dict, "callbacks": dict, "optimizer_states": list,
                    "lr_schedulers": list, "last_checkpoint": dict}  # fmt: skip
LAST, EARLIER = "last.ckpt", "step_{}.ckpt"  # the states of a training


def load(path: str | Path, device: str | torch.device = "cpu") -> ImageTranslationModule:
    """Rebuild a trained model, ready to ``predict`` images.

    Args:
        path: a checkpoint, a generator exported as ``.safetensors``, or a run folder, whose best checkpoint is taken.
        device: where the model goes.

    Raises:
        UserError: there is no such file, or it is damaged, or not one of this project's.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        path = path / "checkpoints" / "best.ckpt"
    if path.suffix == ".safetensors":
        return read_generator(path).to(device).eval()
    checkpoint = read_checkpoint(path)
    described = checkpoint["image_translation"].get("model"), checkpoint["hyper_parameters"]
    return rebuilt(path, *described, checkpoint["state_dict"]).to(device).eval()


def rebuilt(
    path: Path, name: Any, options: dict[str, Any], weights: dict[str, Any], part: str = ""
) -> ImageTranslationModule:
    """A model by the name and the options that a file gives, with its weights.

    Names, shapes and kinds of number are compared before the model takes any memory.

    Args:
        path: the file, for messages.
        name: of the model.
        options: its constructor's arguments.
        weights: tensors by their names.
        part: the network that they are of, such as ``generator``; else of the whole model.

    Raises:
        UserError: the model is not known, can't be built so, or has other weights.
    """
    if not isinstance(name, str) or name not in ImageTranslationModule.registry:
        raise UserError(
            f"{path}: model {name!r} is not known here; known are {', '.join(ImageTranslationModule.registry)}."
        )
    if not _is_plain(options):
        raise UserError(f"{path}: the options of its model are no plain values.")
    unfit = f"{path}: the weights don't fit the {name} that it describes"
    try:
        with torch.device("meta"):
            expected = ImageTranslationModule.registry[name](**options).get_submodule(part).state_dict()
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, UserError, ValueError) as error:
        raise UserError(f"{unfit}: it can't be built ({error}).") from error
    if wrong := expected.keys() ^ weights.keys():
        raise UserError(f"{unfit}: missing or unknown is {min(map(str, wrong))}.")
    for key, tensor in expected.items():
        got, shape = weights[key], (tuple(tensor.shape), tensor.dtype)
        found = (tuple(got.shape), got.dtype) if isinstance(got, Tensor) else type(got).__name__
        if found != shape:
            raise UserError(f"{unfit}: {key} is {found}, expected {shape}.")
    model = ImageTranslationModule.registry[name](**options)
    model.get_submodule(part).load_state_dict(weights)
    return model


def _is_plain(options: dict[str, Any]) -> bool:
    plain = (str, int, float, bool, type(None))
    return all(isinstance(v, plain) or (isinstance(v, list | tuple) and all(isinstance(p, plain) for p in v))
               for v in options.values())  # fmt: skip


def read_generator(path: Path) -> ImageTranslationModule:
    """A model whose generator was exported; what else it has to be trained with is new.

    Raises:
        UserError: the file is missing or damaged, or was not exported by this project.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file.")
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("image_translation", "null"))
        weights = load_file(path)
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged, or no safetensors file ({error}).") from error
    if not isinstance(about, dict) or not isinstance(about.get("options"), dict):
        raise UserError(f"{path}: not exported by image_translation: it doesn't say which model it is of.")
    return rebuilt(path, about.get("model"), about["options"], weights, "generator")


class State(NamedTuple):
    """A whole state of a training, after so many steps."""

    path: Path
    step: int


def find_resume_checkpoint(folder: Path, required: bool = False) -> State | None:
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
                if not all(isinstance(state.get(part), kind) for part, kind in CHECKPOINT_PARTS.items()):
                    raise UserError(f"{path}: weights only, or the state of a training by an earlier version.")
                if not all(isinstance(v, Tensor) and bool(v.isfinite().all()) for v in state["state_dict"].values()):
                    raise UserError(f"{path}: some weights are missing or not finite.")
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
    _require_whole(path)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(f"{path}: refused: it holds more than tensors and plain values. Nothing was run.") from error
    except Exception as error:  # a pickle made for it can raise anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{path}: damaged, or no checkpoint ({reason}).") from error
    parts = ("image_translation", "hyper_parameters", "state_dict")
    if not isinstance(checkpoint, dict) or not all(isinstance(checkpoint.get(part), dict) for part in parts):
        raise UserError(f"{path}: not a checkpoint of image_translation; expected {', '.join(parts)} in it.")
    if not all(_is_filled(tensor) for tensor in _tensors(checkpoint)):
        raise UserError(f"{path}: refused, because a tensor in it claims to be larger than its numbers.")
    return checkpoint


def _require_whole(path: Path) -> None:
    """Check every byte against the checksums that a checkpoint has, which torch itself does not look at.

    Raises:
        UserError: it is damaged, or no checkpoint, or would unpack into more than it takes on the disk.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise UserError(f"{path}: refused: no checkpoint, because those are not compressed.")
            if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
                raise UserError(f"{path}: damaged, or refused: it claims to hold more than its size.")
            damaged = archive.testzip()
            pickled = [archive.read(name) for name in archive.namelist() if name.endswith("/data.pkl")]
            names = {str(arg) for content in pickled for op, arg, _ in genops(content) if op.name == "GLOBAL"}
    except UserError:
        raise
    except Exception as error:  # zipfile raises many kinds
        raise UserError(f"{path}: refused: damaged, or no checkpoint ({error}).") from error
    if names & {"__builtin__ bytearray", "builtins bytearray"}:  # of any length, from a few bytes
        raise UserError(f"{path}: refused: it holds more than tensors and plain values. Nothing was run.")
    if damaged:
        raise UserError(f"{path}: damaged: {damaged} in it is not what was written.")


def _tensors(content: Any) -> Iterator[Tensor]:
    """All tensors in nested values, each once: the same list may stand in it any number of times, or in itself."""
    waiting, seen = [content], set()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, dict | list | tuple):
            waiting.extend(value.values() if isinstance(value, dict) else value)


def _is_filled(tensor: Tensor) -> bool:
    """Whether a tensor has as many numbers in memory as its shape says."""
    return tensor.layout == torch.strided and tensor.untyped_storage().nbytes() >= tensor.numel() * tensor.itemsize
