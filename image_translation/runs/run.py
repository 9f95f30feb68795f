"""The run folder: its manifest ``run.json``, and its tables."""

import logging
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any

from omegaconf import DictConfig, OmegaConf

from image_translation.cli.errors import UserError
from image_translation.cli.process import exit_status, is_main_process
from image_translation.runs.config import resolve_config
from image_translation.runs.files import write_json, write_text
from image_translation.runs.folder import is_of_a_run, read_manifest, require_no_way_out
from image_translation.runs.processes import process_start
from image_translation.runs.redact import redact

log = logging.getLogger(__name__)
PACKAGES = ("image_translation", "torch", "torchvision", "pytorch-lightning", "torchmetrics", "hydra-core", "wandb")
# What a run writes, and what therefore is removed when it starts again: no file of anybody else.
OWN = ("checkpoints", "metrics.csv", "panels", "wandb", "tensorboard", "test", "evaluate")
KEPT = ("data", "wandb_id", "seed", "batch_size", "device", "precision", "wall_time_s")  # by a run that goes on


class Run:
    """A run folder's manifest, kept true to how the run went.

    Args:
        folder: the run folder.
        config: what the run is started with, kept in ``.hydra/config.yaml``.
        before: the manifest of the run that goes on or starts again here, see ``resuming.py``.
        checkpoint: the state to go on from, if there is one.
        facts: what is known from the start.

    Raises:
        UserError: the folder holds something already, which must not be overwritten.
    """

    def __init__(
        self,
        folder: Path,
        config: DictConfig,
        before: dict[str, Any] | None = None,
        checkpoint: Path | None = None,
        **facts: Any,
    ) -> None:
        self.path, self.before = folder / "run.json", before
        # In a further process of a run the main one has decided, before it started this one.
        decided = None if is_main_process() or not self.path.exists() else read_manifest(folder).get("goes_on_from")
        self.checkpoint = folder / "checkpoints" / str(decided) if decided else checkpoint
        goes_on = self.checkpoint is not None
        self.earlier: dict[Path, str] = {}  # files as they were, until training has gone on
        if is_main_process():
            if before and not goes_on:
                _remove(folder, OWN)
            elif not before and any(is_of_a_run(path) for path in folder.glob("*")):
                raise UserError(
                    f"{folder} is not empty, and nothing is overwritten; name another folder: hydra.run.dir=…"
                )
            require_no_way_out(folder)
            (folder / ".hydra").mkdir(parents=True, exist_ok=True)
            kept = [path for path in (self.path, folder / ".hydra" / "config.yaml") if goes_on]
            self.earlier = {path: path.read_text(encoding="utf-8") for path in kept}
            write_text(folder / ".hydra" / "config.yaml", OmegaConf.to_yaml(resolve_config(config)))
        self.start = time.perf_counter() - (_seconds_so_far(before, self.checkpoint) if before and goes_on else 0.0)
        self.facts: dict[str, Any] = {
            "status": "running",
            "process": {"host": platform.node(), "id": os.getpid(), "started": process_start(os.getpid())},
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "goes_on_from": self.checkpoint.name if self.checkpoint else None,
            **{key: before[key] for key in KEPT if before and key in before and (goes_on or key in KEPT[:2])},
            **facts,
            "git_commit": _git_commit(),
            "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        }

    def update(self, **facts: Any) -> None:
        """Add facts, and write the manifest."""
        self.facts |= facts
        if is_main_process():
            write_json(self.path, redact(self.facts))

    def has_begun(self) -> None:
        """To be called when training has taken a step: from now on the run is another than before."""
        self.earlier.clear()

    def forget_results(self) -> None:
        """Remove what an earlier best state was measured to be."""
        if is_main_process():
            _remove(self.path.parent, ("test", "evaluate"))

    def __enter__(self) -> "Run":
        self.update()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        status = {0: "finished", 1: "failed"}.get(exit_status(error), "interrupted")
        if status == "interrupted" and is_main_process():
            log.info("Stopped. To go on: python -m image_translation.train resume=%s", self.path.parent)
        facts: dict[str, Any] = {"status": status, "wall_time_s": round(time.perf_counter() - self.start, 1)}
        if status == "failed":
            facts["error"] = str(error) or repr(error)
        try:
            if error and self.earlier:
                for path, text in self.earlier.items():
                    write_text(path, text)
            else:
                self.update(**facts)
        except OSError as unwritten:
            if error is None:
                raise
            # What ended the run says more: a full disk. A run whose process is gone is known as interrupted anyway.
            log.warning("%s can't be written: %s", self.path, unwritten.strerror)


def _seconds_so_far(before: Mapping[str, Any], checkpoint: Path | None) -> float:
    """How long an earlier run took, which a killed one could not write down: then up to the state that it left."""
    seconds = float(before.get("wall_time_s", 0.0))
    if before["status"] == "running" and checkpoint is not None:
        with suppress(OSError, ValueError):
            started = datetime.fromisoformat(before.get("started", "")).timestamp()
            seconds += max(0.0, checkpoint.stat().st_mtime - started)
    return seconds


def _remove(folder: Path, names: Iterable[str]) -> None:
    for path in (folder / name for name in names):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The checkout's commit, with "-dirty" for uncommitted changes; None for an installed package."""
    if not (Path(__file__).parents[1] / ".git").exists():
        return None
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
