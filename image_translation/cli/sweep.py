"""What a sweep made of its jobs."""

import math
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from image_translation.cli.console import print_table
from image_translation.cli.errors import UserError, command_line
from image_translation.cli.messages import report
from image_translation.cli.process import is_main_process
from image_translation.metrics.names import HIGHER_IS_BETTER, METRICS
from image_translation.runs.files import read_json, write_csv, write_json
from image_translation.runs.folder import MANIFEST, find_runs, read_manifest

NOTES = ".jobs"  # in a sweep's folder: what each job says of itself


class SweepTable(Callback):
    """Ends a sweep with a table of its jobs, best first, also in ``sweep.csv``; and with status 1 if one failed.

    Args:
        compare: whether to compare the sweep's runs then, into the folder ``compare`` of the sweep.
    """

    open: ClassVar["tuple[SweepTable, DictConfig] | None"] = None  # the sweep that has begun in this process

    def __init__(self, compare: bool = False) -> None:
        self.compare = compare

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        sweep = Path(config.hydra.sweep.dir)
        if config.if_exists != "resume" and next(find_runs(str(sweep)), None):
            report(UserError(f"{sweep} holds another sweep, and nothing is overwritten. Use if_exists=resume, or name "
                             "another folder: hydra.sweep.dir=…"))  # fmt: skip
            raise SystemExit(1)
        shutil.rmtree(sweep / NOTES, ignore_errors=True)
        SweepTable.open = self, config

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        self._note(config, succeeded=None)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        completed = job_return.status == JobStatus.COMPLETED
        was_killed = completed and isinstance(job_return.return_value, float) and math.isnan(job_return.return_value)
        self._note(config, None if was_killed else completed)
        if job_return.status == JobStatus.FAILED and config.hydra.mode == RunMode.MULTIRUN:  # it would end the sweep
            job_return.status, job_return.return_value = JobStatus.COMPLETED, math.nan
        job_return.cfg = job_return.hydra_cfg = None  # Hydra would keep every job's until the sweep ends

    def _note(self, config: DictConfig, succeeded: bool | None) -> None:
        """For the process that ends the sweep: a launcher may run this job in another one."""
        if config.hydra.mode == RunMode.MULTIRUN and is_main_process():
            job, words = config.hydra.runtime.output_dir, list(config.hydra.overrides.task)
            notes = Path(config.hydra.sweep.dir) / NOTES
            notes.mkdir(parents=True, exist_ok=True)
            write_json(notes / f"{config.hydra.job.num:06}.json", {"job": job, "words": words, "succeeded": succeeded})

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        SweepTable.open = None
        if not is_main_process():
            return
        sweep, wanted = Path(config.hydra.sweep.dir), str(config.optimized_metric)
        notes = [read_json(path) for path in sorted((sweep / NOTES).glob("*.json"))]
        shutil.rmtree(sweep / NOTES, ignore_errors=True)
        jobs = {Path(note["job"]): (note["words"], note["succeeded"]) for note in notes}
        options = {job: dict(word.split("=", 1) for word in words if "=" in word) for job, (words, _) in jobs.items()}
        names = sorted({name for own in options.values() for name in own})
        names = [name for name in names if len({own.get(name) for own in options.values()}) > 1]
        rows = []
        for job, (_, succeeded) in jobs.items():
            manifest = read_manifest(job) if (job / MANIFEST).exists() else {}
            run: dict[str, Any] = manifest or {"status": "finished"}  # a fast_dev_run leaves none
            if not succeeded:
                stopped = manifest["status"] in ("running", "interrupted") if manifest else succeeded is None
                run = {"status": "interrupted" if stopped else "failed"}
            row = {"job": job.name, "task": run.get("task"), "status": run["status"]}
            row |= {name: options[job].get(name) for name in names}
            test = {f"test/{metric}": run.get("test", {}).get(metric) for metric in HIGHER_IS_BETTER}
            rows.append(row | test | {wanted: run.get("optimized_metric")})
        sign = -1 if HIGHER_IS_BETTER.get(wanted.rpartition("/")[2], True) else 1
        rows.sort(key=lambda row: (str(row["task"] or "~"), math.inf if row[wanted] is None else sign * row[wanted]))
        tests = [f"test/{metric}" for metric in HIGHER_IS_BETTER]
        tests = [name for name in tests if any(row[name] is not None for row in rows)]
        columns = list(dict.fromkeys(["job", *names, "status", wanted, *(tests or [f"test/{m}" for m in METRICS])]))
        if any(row["status"] == "finished" for row in rows):  # else it would only replace what an earlier one has
            write_csv(sweep / "sweep.csv", [{name: row[name] for name in columns} for row in rows], columns)
        cells = [["" if row[column] is None else row[column] for column in columns] for row in rows]
        for cell in cells:
            cell[0] = str(cell[0]).partition("_")[0]  # a table on the terminal is narrow
        print_table([column.rpartition(".")[2] for column in columns], cells, caption=str(sweep))
        failed = not rows or any(row["status"] != "finished" for row in rows)
        if self.compare:
            from image_translation.compare import compare  # here, because it uses this module

            try:
                compare([sweep], sweep / "compare")
            except Exception as error:
                report(error)
                failed = True
        if failed:
            raise SystemExit(1)


def end_sweep() -> None:
    """Show the table of a sweep whose launcher has failed, as it does when a job's process was killed."""
    if SweepTable.open:
        table, config = SweepTable.open
        table.on_multirun_end(config)


def explain_resuming() -> None:
    """Say how to resume a sweep that was stopped."""
    if SweepTable.open and is_main_process():
        again = {"if_exists": "resume", "hydra.sweep.dir": SweepTable.open[1].hydra.sweep.dir}
        typed = [word for word in sys.argv[1:] if word.partition("=")[0] not in again]
        print("To resume the sweep:", command_line("train", shlex.join(typed), **again))
