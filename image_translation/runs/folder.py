"""What a run folder holds, and how it is read. File names of a run stand here and nowhere else."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from image_translation.cli.errors import UserError
from image_translation.runs.files import LOCK, read_json

MANIFEST = "run.json"
CONFIG, OVERRIDES = ".hydra/config.yaml", ".hydra/overrides.yaml"
BEST_CHECKPOINT, LAST_CHECKPOINT, EARLIER_CHECKPOINTS = "best.ckpt", "last.ckpt", "step_{}.ckpt"
RESULTS = ("test", "evaluate")
# What a run writes.
OUTPUTS = ("checkpoints", "metrics.csv", "panels", "wandb", "tensorboard", *RESULTS)


def read_manifest(folder: Path) -> dict[str, Any]:
    """``run.json`` of a run folder. Raises UserError if there is none, or it can't be read."""
    path = folder / MANIFEST
    try:
        manifest = read_json(path)
    except OSError as error:
        raise UserError(f"{folder} is not a run folder: it has no readable {MANIFEST} ({error.strerror}).") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}.") from error
    if not isinstance(manifest, dict) or not all(isinstance(manifest.get(k), str) for k in ("status", "task", "model")):
        raise UserError(f"{path} is damaged: status, task and model are expected in it.")
    return manifest


def read_config(folder: Path) -> DictConfig:
    """The config that a run was started with. Raises UserError if it is missing or damaged."""
    return cast(DictConfig, _read_yaml(folder, CONFIG))


def read_overrides(folder: Path) -> list[str]:
    """What was written on the command line of a run. Raises UserError if it is missing or damaged."""
    return [str(override) for override in _read_yaml(folder, OVERRIDES)]


def _read_yaml(folder: Path, name: str) -> Any:
    path = folder / name
    if not path.is_file():
        raise UserError(f"{folder} is not a run folder: it has no {name}.")
    try:
        return OmegaConf.load(path)
    except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{path} is damaged: {str(error).splitlines()[0]}.") from error


def remove_outputs(folder: Path, only_results: bool) -> None:
    """Remove what an earlier run wrote, or its test results: no file of anybody else."""
    for path in (folder / name for name in (RESULTS if only_results else OUTPUTS)):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def saved_checkpoints(folder: Path) -> list[Path]:
    """What a run can be resumed from, the latest first."""
    last, earlier = (
        folder / "checkpoints" / LAST_CHECKPOINT,
        folder.glob(f"checkpoints/{EARLIER_CHECKPOINTS}".format("*")),
    )
    return [path for path in (last, *sorted(earlier, reverse=True)) if path.exists()]


def is_run_file(path: Path) -> bool:
    """Not so are logs, which Hydra begins before anything is checked, and the lock."""
    return path.suffix != ".log" and path.name != LOCK


def find_runs(*folders: str) -> Iterator[Path]:
    """All run folders below folders."""
    for folder in folders:
        yield from sorted(path.parent for path in Path(folder).rglob(MANIFEST))
