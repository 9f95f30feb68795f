"""The run folder: its manifest ``run.json``, its tables, and what a sweep made of several."""

import csv
import io
import json
import os
import platform
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from image_translation.errors import UserError

PACKAGES = ("image_translation", "torch", "torchvision", "pytorch-lightning", "torchmetrics", "hydra-core", "wandb")
TERMINATED = 143
INTERRUPTED = 130
MEASURES = ("mse", "psnr", "ssim")


def is_main_process() -> bool:
    """False in the further processes of a run on several devices, which write and say nothing."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.tmp")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_whole(path, json.dumps(content, indent=2) + "\n")


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """A CSV file with a header; values that a row lacks stay empty."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, buffer.getvalue())


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> None:
    """A table on the terminal; numbers are rounded to three decimals."""
    table = Table(title=title)
    for column in columns:
        table.add_column(column, justify="left" if column == columns[0] else "right", overflow="fold")
    for row in rows:
        table.add_row(*(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row))
    Console().print(table)


def exit_status(error: BaseException | None) -> int:
    """0 without an error, 130 or 143 if a signal stopped the run, 1 otherwise."""
    if error is None:
        return 0
    # Lightning turns a KeyboardInterrupt into SystemExit(1).
    if isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt):
        return INTERRUPTED
    return TERMINATED if isinstance(error, SystemExit) and error.code == TERMINATED else 1


def print_results(scores: Mapping[str, Mapping[str, float]], split: str, folder: Path) -> None:
    """The measures of each model, and where the pictures are."""
    if is_main_process():
        columns = {"MSE ↓": "mse", "PSNR ↑": "psnr", "SSIM ↑": "ssim"}
        columns |= {name.replace("/", "\n"): name for name in next(iter(scores.values())) if "/" in name}
        rows = [[model, *(row.get(name, "") for name in columns.values())] for model, row in scores.items()]
        print_table([split, *columns], rows)
        places = [folder / "panels", folder / split / "images"]
        print("Pictures:", " and ".join(str(place) for place in places if place.exists()))


class Run:
    """A run folder's manifest, kept true to how the run went.

    Args:
        folder: the run folder.
        config: what the run is started with, kept in ``.hydra/config.yaml``.
        facts: what is known from the start.

    Raises:
        UserError: the folder holds something already, which must not be overwritten.
    """

    def __init__(self, folder: Path, config: DictConfig, **facts: Any) -> None:
        self.path = folder / "run.json"
        if is_main_process() and any(path.suffix != ".log" for path in folder.glob("*")):
            raise UserError(f"{folder} is not empty, and nothing is overwritten; name another folder: hydra.run.dir=…")
        if is_main_process():
            write_whole(folder / ".hydra" / "config.yaml", OmegaConf.to_yaml(config))
        self.start = time.perf_counter()
        self.facts: dict[str, Any] = {
            "status": "running",
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            **facts,
            "git_commit": _git_commit(),
            "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        }

    def update(self, **facts: Any) -> None:
        """Add facts, and write the manifest."""
        self.facts |= facts
        if is_main_process():
            write_json(self.path, self.facts)

    def __enter__(self) -> "Run":
        self.update()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        status = {0: "finished", 1: "failed"}.get(exit_status(error), "interrupted")
        facts: dict[str, Any] = {"status": status, "wall_time_s": round(time.perf_counter() - self.start, 1)}
        if status == "failed":
            facts["error"] = str(error) or repr(error)
        self.update(**facts)


def read_run(folder: Path) -> dict[str, Any]:
    """The manifest of a run folder.

    Raises:
        UserError: there is none, or it can't be read.
    """
    path = folder / "run.json"
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"run={folder} is not a run folder: it has no readable run.json ({error.strerror}).") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}.") from error
    return manifest


class SweepTable(Callback):
    """Ends a sweep with a table of its jobs, and with status 1 if one of them didn't finish."""

    def __init__(self) -> None:
        self.jobs: list[Path] = []

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        self.jobs.append(Path(config.hydra.runtime.output_dir))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        sweep = Path(config.hydra.sweep.dir)
        # A launcher that runs jobs elsewhere leaves their folders only.
        jobs = self.jobs or sorted(path.parent for path in sweep.rglob("run.json"))
        rows, failed = [], not jobs
        for job in jobs:
            try:
                run = read_run(job)
            except UserError:
                run = {"status": "failed"}
            failed |= run["status"] != "finished"
            rows.append([job.name, run["status"], *(run.get("test", {}).get(measure, "") for measure in MEASURES)])
        print_table(["job", "status", "MSE ↓", "PSNR ↑", "SSIM ↑"], rows, title=str(sweep))
        if failed:
            raise SystemExit(1)


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
