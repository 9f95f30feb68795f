"""Reading checkpoints: they describe themselves, and nothing in them is executed."""

import json
import pickle
import shutil
import zipfile
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from image_translation import models
from image_translation.cli.errors import UserError
from image_translation.models import ImageTranslationModule
from image_translation.runs.files import atomic_write
from image_translation.runs.folder import BEST_CHECKPOINT, CARD, RESULTS_IMAGE

HUB_WEIGHTS = "model.safetensors"
ABOUT = "image_translation"  # the entry that says which model a file is of


def load(path: str | Path, device: str | torch.device = "cpu") -> ImageTranslationModule:
    """Rebuild a trained model, ready to ``predict`` images.

    A model of your own is found once its module is imported.

    Args:
        path: a run folder, whose best checkpoint is taken, a checkpoint, or an exported file or folder.
        device: where the model goes.

    Raises:
        UserError: there is no such file, or it is damaged, or of a model that is not known here.
    """
    path = Path(path).expanduser()
    if path.suffix == ".pt2":
        raise UserError(f"{path}: such a file can hold code, so it is not opened here. If you trust it, use "
                        "torch.export.load, or predict with an ONNX or OpenVINO file.")  # fmt: skip
    if path.suffix in (".onnx", ".xml"):
        from image_translation.inference.exported import Exported

        return Exported(path).eval()
    about, options, weights = read_weights(path)
    name = about["model"]
    try:
        model = _known_models(path, name)(**options)
        network: torch.nn.Module = model
        if all(key.startswith("generator.") for key in weights):  # exported
            network, weights = model.generator, {key.partition(".")[2]: value for key, value in weights.items()}
        network.load_state_dict(weights)
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{path}: can't be loaded into {name}: {error}") from error
    model.trained_on = about.get("trained_on", model.trained_on)
    return model.to(device).eval()


def read_weights(path: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, torch.Tensor]]:
    """What a run folder, a checkpoint or an exported folder or safetensors file says of its model, the model's options,
    and its weights by their names in the model; UserError as ``load``."""
    if path.is_dir():
        path = path / HUB_WEIGHTS if (path / HUB_WEIGHTS).exists() else path / "checkpoints" / BEST_CHECKPOINT
    if path.suffix == ".safetensors":
        about, weights = _read_safetensors(path)
        return about, about["options"], {f"generator.{name}": tensor for name, tensor in weights.items()}
    checkpoint = read_checkpoint(path)
    return checkpoint[ABOUT], checkpoint["hyper_parameters"], checkpoint["state_dict"]


def interpolate(model: Any, alpha: float) -> None:
    """Set the weights of a ``resunet_gan`` between those from before the discriminator (0) and the last ones (1)."""
    if not hasattr(model, "interpolate"):
        raise UserError("alpha goes with model=resunet_gan, and only with it.")
    model.interpolate(alpha)


def _known_models(path: Path, name: str) -> type[ImageTranslationModule]:
    """The class of a model ``module:Class`` among those of this project and those that are imported."""
    for module in iter_modules(models.__path__):
        import_module(f"{models.__name__}.{module.name}")
    known: dict[str, type[ImageTranslationModule]] = {}
    waiting = [ImageTranslationModule]
    while waiting:
        for model in waiting.pop().__subclasses__():
            known[f"{model.__module__}:{model.__qualname__}"] = model
            waiting.append(model)
    if name not in known:
        raise UserError(
            f"{path}: its model {name!r} is not known here. Import its module first; for a command, name the folder of "
            f"your configs: --config-dir=… Known are {', '.join(known)}."
        )
    return known[name]


def save_generator(model: ImageTranslationModule, path: Path) -> None:
    """Write a model's generator as safetensors, with what ``load`` needs to rebuild it."""
    name = f"{type(model).__module__}:{type(model).__qualname__}"
    about = json.dumps({"model": name, "options": dict(model.hparams), "trained_on": model.trained_on})
    weights = {key: tensor.contiguous() for key, tensor in model.generator.state_dict().items()}
    with atomic_write(path) as file:
        file.write(save(weights, {ABOUT: about}))


def write_hub(model: ImageTranslationModule, run: Path, folder: Path) -> None:
    """Write a folder that is ready to be uploaded to the Hugging Face Hub: weights, card and image of a run."""
    if not (run / CARD).is_file():
        raise UserError(f"{run}: format=hub needs the folder of a finished run, which has a {CARD}.")
    folder.mkdir(parents=True)
    save_generator(model, folder / HUB_WEIGHTS)
    for name in (CARD, RESULTS_IMAGE):
        if (run / name).exists():
            shutil.copy(run / name, folder)


def _read_safetensors(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    if not path.is_file():
        raise UserError(f"{path}: no such file.")
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get(ABOUT, "null"))
        weights = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path}: damaged, or no safetensors file ({error}).") from error
    if not isinstance(about, dict) or not {"model", "options"} <= about.keys():
        raise UserError(f"{path}: not exported by image_translation: it doesn't say which model it is of.")
    return about, weights


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The tensors and plain values of a checkpoint; UserError if it is missing, damaged, foreign, or holds code."""
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint. Name a run folder, or a file in its folder checkpoints.")
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not look at the checksums
            if damaged := archive.testzip():
                raise UserError(f"{path}: damaged: {damaged} in it is not what was written.")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except pickle.UnpicklingError as error:
        raise UserError(f"{path}: refused: it holds more than tensors and plain values. Nothing was run.") from error
    except Exception as error:  # zipfile and torch raise many kinds
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{path}: damaged, or no checkpoint ({reason}).") from error
    parts = (ABOUT, "hyper_parameters", "state_dict")
    if not isinstance(checkpoint, dict) or not all(isinstance(checkpoint.get(part), dict) for part in parts):
        raise UserError(f"{path}: not a checkpoint of image_translation; expected {', '.join(parts)} in it.")
    return checkpoint
