"""Reading a run folder."""

import io
import os
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from image_translation.cli.errors import UserError
from image_translation.runs.files import LOCK, read_json, read_text

LONGEST = 1e12  # seconds
DEEPEST = 20  # nesting of a run's config
PARTS = ("data", "model", "trainer", "run")  # of a config
# What some values of a manifest must be, if they are there.
KINDS: dict[str, Any] = {"data": dict, "device": dict, "process": dict, "cost": (dict, type(None)), "test": dict,
                         "wall_time_s": (int, float), "seed": int, "batch_size": int, "started": str,
                         "precision": str, "wandb_id": (str, type(None)), "versions": dict}  # fmt: skip
# What must be in those parts.
INSIDE: dict[str, dict[str, type]] = {
    "data": {"root": str, "sample": bool, "fingerprint": str},
    "device": {"count": int},
}


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a run folder.

    Raises:
        UserError: there is none, or it can't be read.
    """
    path = folder / "run.json"
    try:
        manifest = read_json(path)
    except OSError as error:
        raise UserError(f"run={folder} is not a run folder: it has no readable run.json ({error.strerror}).") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}.") from error
    if not isinstance(manifest, dict) or not all(isinstance(manifest.get(k), str) for k in ("status", "task", "model")):
        raise UserError(f"{path} is damaged: status, task and model are expected in it.")
    for key, kinds in KINDS.items():
        if key in manifest and not isinstance(manifest[key], kinds):
            raise UserError(f"{path} is damaged: {key} is {manifest[key]!r}.")
    if not abs(manifest.get("wall_time_s", 0)) < LONGEST:
        raise UserError(f"{path} is damaged: wall_time_s is no time.")
    for key, names in INSIDE.items():
        for name, kind in names.items():
            if key in manifest and not isinstance(manifest[key].get(name), kind):
                raise UserError(f"{path} is damaged: {key}.{name} is {manifest[key].get(name)!r}.")
    return manifest


def read_config(folder: Path) -> DictConfig:
    """The config that a run was started with.

    Raises:
        UserError: it is missing or damaged.
    """
    path = folder / ".hydra" / "config.yaml"
    if not path.is_file():
        raise UserError(f"run={folder} is not a run folder: it has no {path.relative_to(folder)}.")
    try:
        text = read_text(path)
        _require_shallow(text)
        config = OmegaConf.load(io.StringIO(text))
    except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{path} is damaged: {str(error).splitlines()[0]}.") from error
    if not isinstance(config, DictConfig) or not all(isinstance(config.get(k), DictConfig) for k in PARTS):
        raise UserError(f"{path} is damaged: {', '.join(PARTS)} are expected in it.")
    return config


def _require_shallow(text: str) -> None:
    """Check that YAML is as simple as a run's config; a few bytes could unpack into any amount of memory.

    Raises:
        ValueError: it has references, or is nested too deeply.
    """
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or depth > DEEPEST:
            raise ValueError("it has references in it, or is nested too deeply")


def is_of_a_run(path: Path) -> bool:
    """Not so are logs, which Hydra begins before anything is checked, and the lock."""
    return path.suffix != ".log" and path.name != LOCK


def require_no_way_out(folder: Path) -> None:
    """Check that nothing in a run folder is a link to another place, which would be written to.

    Raises:
        UserError: something is.
    """
    for place, folders, files in os.walk(folder):
        for path in (Path(place) / name for name in (*folders, *files)):
            if not path.is_symlink() or "wandb" in path.relative_to(folder).parts[:-1]:
                continue
            if not path.resolve().is_relative_to(folder.resolve()):
                raise UserError(f"{path} is a link that leads out of the run folder, so nothing is written there. "
                                "Put what it leads to in its place.")  # fmt: skip
