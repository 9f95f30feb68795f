"""The run folder: its manifest ``run.json``, and its tables."""

import io
import logging
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.table import Table
from rich.text import Text

from image_translation.errors import UserError
from image_translation.files import LOCK, read_json, read_text, write_json, write_whole
from image_translation.privacy import private
from image_translation.processes import process_start

log = logging.getLogger(__name__)
PACKAGES = ("image_translation", "torch", "torchvision", "pytorch-lightning", "torchmetrics", "hydra-core", "wandb")
LONGEST = 1e12  # seconds
DEEPEST = 20  # nesting of a run's config
PARTS = ("data", "model", "trainer", "run")  # of a config
# Options that change nothing in the results.
WITHOUT_EFFECT = ("if_exists", "debug", "logger", "run.dir", "trainer.default_root_dir", "data.num_workers",
                  "data.eval_batch_size", "data.cache", "data.cache_folder", "model.recompute",
                  "model.compile")  # fmt: skip
# What a run writes, and what therefore is removed when it starts again: no file of anybody else.
OWN = ("checkpoints", "metrics.csv", "panels", "wandb", "tensorboard", "test", "evaluate")
# What some values of a manifest must be, if they are there.
KINDS: dict[str, Any] = {"data": dict, "device": dict, "process": dict, "cost": (dict, type(None)), "test": dict,
                         "wall_time_s": (int, float), "seed": int, "batch_size": int, "started": str,
                         "precision": str, "wandb_id": (str, type(None)), "versions": dict}  # fmt: skip
# What must be in those parts.
INSIDE: dict[str, dict[str, type]] = {
    "data": {"root": str, "sample": bool, "fingerprint": str},
    "device": {"count": int},
}
KEPT = ("data", "wandb_id", "seed", "batch_size", "device", "precision", "wall_time_s")  # by a run that goes on
TERMINATED = 143
INTERRUPTED = 130
MEASURES = ("mse", "psnr", "ssim")


def is_main_process() -> bool:
    """False in the further processes of a run on several devices, which write and say nothing."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> None:
    """A table on the terminal; numbers are rounded to three decimals."""
    table = Table(title=None if title is None else Text(title))
    for column in columns:
        table.add_column(Text(column), justify="left" if column == columns[0] else "right", overflow="fold")
    for row in rows:
        cells = [f"{cell:.3f}" if isinstance(cell, float) else cell for cell in row]
        table.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in cells))
    Console().print(table)


def exit_status(error: BaseException | None) -> int:
    """0 without an error, 130 or 143 if a signal stopped the run, 1 otherwise."""
    if error is None:
        return 0
    # Lightning turns a KeyboardInterrupt into SystemExit(1).
    if isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt):
        return INTERRUPTED
    return TERMINATED if isinstance(error, SystemExit) and error.code == TERMINATED else 1


def print_results(scores: Mapping[str, Mapping[str, float]], split: str, *places: Path) -> None:
    """The measures of each model, and where the pictures are."""
    if is_main_process():
        columns = {"MSE ↓": "mse", "PSNR ↑": "psnr", "SSIM ↑": "ssim"}
        columns |= {name.replace("/", "\n"): name for name in next(iter(scores.values())) if "/" in name}
        rows = [[model, *(row.get(name, "") for name in columns.values())] for model, row in scores.items()]
        print_table([split, *columns], rows)
        places = tuple(place / "images" if (place / "images").exists() else place for place in places)
        print("Pictures:", " and ".join(str(place) for place in places if place.exists()))


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
        decided = None if is_main_process() or not self.path.exists() else read_run(folder).get("goes_on_from")
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
            write_whole(folder / ".hydra" / "config.yaml", OmegaConf.to_yaml(recorded(config)))
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
            write_json(self.path, private(self.facts))

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
                    write_whole(path, text)
            else:
                self.update(**facts)
        except OSError as unwritten:
            if error is None:
                raise
            # What ended the run says more: a full disk. A run whose process is gone is known as interrupted anyway.
            log.warning("%s can't be written: %s", self.path, unwritten.strerror)


def read_run(folder: Path) -> dict[str, Any]:
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


def recorded(config: DictConfig) -> DictConfig:
    """A config as it is kept: what makes the results is resolved, so that equal texts are equal options."""
    kept = config.copy()
    for part in ("data", "model", "trainer", "seed"):
        resolved = OmegaConf.to_container(config, resolve=True)[part]  # type: ignore[call-overload,index]
        OmegaConf.update(kept, part, resolved, merge=False, force_add=True)
    return kept


def flat(config: DictConfig) -> dict[str, Any]:
    """A config's options by their names on the command line."""

    def walk(node: Any, name: str) -> Iterator[tuple[str, Any]]:
        if isinstance(node, dict) and node:
            for key, value in node.items():
                yield from walk(value, f"{name}.{key}" if name else str(key))
        else:
            yield name, node

    return dict(walk(OmegaConf.to_container(config), ""))


def _seconds_so_far(before: Mapping[str, Any], checkpoint: Path | None) -> float:
    """How long an earlier run took, which a killed one could not write down: then up to the state that it left."""
    seconds = float(before.get("wall_time_s", 0.0))
    if before["status"] == "running" and checkpoint is not None:
        with suppress(OSError, ValueError):
            started = datetime.fromisoformat(before.get("started", "")).timestamp()
            seconds += max(0.0, checkpoint.stat().st_mtime - started)
    return seconds


def is_of_a_run(path: Path) -> bool:
    """Not so are logs, which Hydra begins before anything is checked, and the lock."""
    return path.suffix != ".log" and path.name != LOCK


def _remove(folder: Path, names: Iterable[str]) -> None:
    for path in (folder / name for name in names):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


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
