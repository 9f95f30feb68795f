"""Which run is resumed, with which options, from which checkpoint."""

import logging
import secrets
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from image_translation.cli.errors import UserError, command_line
from image_translation.cli.process import is_main_process, started_with_others
from image_translation.runs.config import LIMITS, compose_saved, require_unchanged
from image_translation.runs.files import is_locked
from image_translation.runs.folder import latest_run, read_config, read_manifest, saved_checkpoints

log = logging.getLogger(__name__)


def run_folder(resume: str | None, new: str) -> str:
    """The run folder: a new one, or that of the run to resume.

    ``resume=last`` is the latest that was stopped: not finished, not running, and not failed before its first
    checkpoint.

    Raises:
        UserError: there is no such run, or several processes were started that need the name of a new one.
    """
    if resume is None and started_with_others():
        raise UserError("Each process would make a run folder of its own. Name one for all: hydra.run.dir=…")
    if resume is None:
        return new
    if resume != "last":
        folder = Path(str(resume)).expanduser()
        read_manifest(folder)
        return str(folder)

    def stopped(folder: Path, run: dict[str, Any]) -> bool:
        failed_early = run["status"] == "failed" and not saved_checkpoints(folder)
        return run["status"] != "finished" and not failed_early and not is_locked(folder)

    latest = latest_run(stopped)
    if latest is None:
        raise UserError("resume=last: no run in outputs or multirun was stopped. Name its folder: resume=…")
    return str(latest)


OmegaConf.register_new_resolver("run_folder", run_folder, use_cache=True, replace=True)
# Part of a new folder's name: of two commands that start in one second each has its own.
OmegaConf.register_new_resolver("unique", lambda: secrets.token_hex(4), use_cache=True, replace=True)


def resumed_config(folder: Path) -> tuple[DictConfig, list[str], dict[str, Any]]:
    """The config of the run to resume, with what the command line may change, its overrides, and its manifest.

    Raises:
        UserError: the run is finished, or the command line changes what makes its results, or names another folder.
    """
    given = HydraConfig.get()
    if given.mode == RunMode.MULTIRUN:
        raise UserError("resume works on one run. Type a sweep again with if_exists=resume hydra.sweep.dir=…")
    # Lightning gives hydra.run.dir to the further processes of a run.
    if is_main_process() and any(override.startswith("hydra.run.dir=") for override in given.overrides.hydra):
        raise UserError("hydra.run.dir and resume both name the run's folder. Leave hydra.run.dir out.")
    changes = [o for o in given.overrides.task if not o.lstrip("+").startswith("resume=")]
    config, overrides = compose_saved(folder, changes)
    require_unchanged(folder, config, given=changes)
    saved, manifest = read_config(folder), read_manifest(folder)
    if manifest["status"] == "finished" and all(
        OmegaConf.select(saved, name) == OmegaConf.select(config, name) for name in LIMITS
    ):
        raise UserError(f"{folder}: this run is finished. To train it longer: trainer.max_epochs=… To evaluate it on "
                        f"other splits: {command_line('evaluate', run=folder, split='all')}")  # fmt: skip
    return config, overrides, manifest


def find_resume_checkpoint(folder: Path, required: bool) -> Path | None:
    """The latest undamaged checkpoint of a run: ``last.ckpt``, or an earlier one.

    None if none was ever written. If all are damaged it is None too, or a UserError if one is ``required``.
    """
    from image_translation.inference.checkpoints import read_checkpoint

    reasons = []
    for path in saved_checkpoints(folder):
        try:
            read_checkpoint(path)
            return path
        except UserError as error:
            log.warning("%s", error)
            reasons.append(str(error))
    if required and reasons:
        raise UserError(f"There is no undamaged checkpoint to resume from, and nothing was changed. {reasons[0]}")
    return None
