"""What a run folder holds, and how it is read. File names of a run stand here and nowhere else."""

import logging
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from image_translation.cli.errors import UserError
from image_translation.runs.files import LOCK, read_json

MANIFEST, LOG, METRICS_CSV = "run.json", "train.log", "metrics.csv"
REASON = ".reason"  # why a process other than the first has failed, until that one has read it
CONFIG, OVERRIDES = ".hydra/config.yaml", ".hydra/overrides.yaml"
CHILD_LOGS = "train_ddp_process_*.log"  # as Lightning calls them
BEST_CHECKPOINT, LAST_CHECKPOINT, EARLIER_CHECKPOINTS = "best.ckpt", "last.ckpt", "step_{}.ckpt"
RESULTS_IMAGE, CARD = "results.png", "README.md"
RESULTS = ("test", "evaluate", RESULTS_IMAGE, CARD)
# What a run writes.
OUTPUTS = ("checkpoints", METRICS_CSV, "panels", "wandb", "tensorboard", *RESULTS)


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
    config = _read_yaml(folder, CONFIG)
    if not isinstance(config, DictConfig) or not all(isinstance(config.get(k), DictConfig) for k in ("data", "model")):
        raise UserError(f"{folder / CONFIG} is damaged: data and model are expected in it.")
    return config


def read_overrides(folder: Path) -> list[str]:
    """What was written on the command line of a run. Raises UserError if it is missing or damaged."""
    overrides = OmegaConf.to_container(_read_yaml(folder, OVERRIDES))
    if not isinstance(overrides, list):
        raise UserError(f"{folder / OVERRIDES} is damaged: a list is expected in it.")
    return [str(override) for override in overrides]


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
    _remove(folder, RESULTS if only_results else OUTPUTS)


def remove_run(folder: Path, with_log: bool) -> None:
    """Remove all that a run wrote, and its folder if nothing else is in there."""
    _remove(folder, (*OUTPUTS, CONFIG, OVERRIDES, MANIFEST, REASON, LOCK))
    with suppress(OSError):
        (folder / CONFIG).parent.rmdir()
    remove_start(folder, with_log)


def end_log() -> None:
    """Write no further lines into the log of a run folder; see conf/hydra/job_logging."""
    for logger in (logging.root, logging.getLogger("image_translation.cli.messages")):
        others = [handler for handler in logger.handlers if not isinstance(handler, logging.FileHandler)]
        logger.handlers = others or [logging.NullHandler()]


def remove_start(folder: Path, with_log: bool) -> None:
    """End the log that Hydra has begun in a folder; remove it, ``with_log``, a lock of no run, and an empty folder.

    Above that, folders in ``outputs`` that are empty now are removed too.
    """
    end_log()
    if not (folder / MANIFEST).exists():
        _remove(folder, [LOCK])
    if with_log:
        _remove(folder, (LOG, *(path.name for path in folder.glob(CHILD_LOGS))))
    with suppress(OSError):  # something is in there
        folder.rmdir()
        for above in folder.absolute().parents:
            if above.is_relative_to(Path("outputs").absolute()):
                above.rmdir()


def _remove(folder: Path, names: Iterable[str]) -> None:
    for path in (folder / name for name in names):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def saved_checkpoints(folder: Path) -> list[Path]:
    """What a run can be resumed from, the latest first."""
    folder /= "checkpoints"
    earlier = sorted(folder.glob(EARLIER_CHECKPOINTS.format("*")), reverse=True)
    return [path for path in (folder / LAST_CHECKPOINT, *earlier) if path.exists()]


def is_run_file(path: Path) -> bool:
    """Not so are logs, which Hydra begins before anything is checked, and the lock."""
    return path.suffix != ".log" and path.name != LOCK


def latest_run(wanted: Callable[[Path, dict[str, Any]], bool]) -> Path | None:
    """Of the runs in ``outputs`` and ``multirun`` the latest that is wanted, by its folder and manifest."""
    found = []
    for folder in find_runs("outputs", "multirun"):
        with suppress(UserError):  # of a damaged manifest
            manifest = read_manifest(folder)
            if wanted(folder, manifest):
                found.append((str(manifest.get("started")), folder))
    return max(found)[1] if found else None


def trained_run(name: str) -> Path:
    """A run folder, or the ``last`` run that has a best checkpoint. UserError if there is none."""
    if name != "last":
        return Path(name).expanduser()
    folder = latest_run(lambda folder, _: (folder / "checkpoints" / BEST_CHECKPOINT).exists())
    if folder is None:
        raise UserError("run=last: no run in outputs or multirun has a best checkpoint. Name its folder: run=…")
    return folder


def facts_of(source: Path) -> dict[str, Any]:
    """What an exported file says of the run that a run folder or a checkpoint in it belongs to; nothing of others."""
    folder = source if source.is_dir() else source.absolute().parent.parent
    if not (folder / MANIFEST).exists():
        return {}
    manifest = read_manifest(folder)
    facts = {"run": str(folder.absolute()), "fingerprint": manifest["data"]["fingerprint"]}
    metrics = folder / "test" / "metrics.json"
    return facts | ({"scores": read_json(metrics)} if metrics.exists() else {})


def test_images(folder: Path, kind: str) -> list[Path]:
    """The ``inputs``, ``targets`` or ``images`` (outputs) of a run's test; none of what is no run."""
    return sorted((folder / "test" / kind).glob("*.png"))


def find_runs(*folders: str) -> Iterator[Path]:
    """All run folders below folders."""
    for folder in folders:
        yield from sorted(path.parent for path in Path(folder).rglob(MANIFEST))
