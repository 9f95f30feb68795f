"""What a sweep made of its jobs."""

import math
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from image_translation.cli.console import print_table
from image_translation.cli.messages import report
from image_translation.cli.process import is_main_process
from image_translation.metrics.names import METRICS, title
from image_translation.runs.folder import find_runs, read_manifest


class SweepTable(Callback):
    """Ends a sweep with a table of its jobs, and with status 1 if one of them didn't finish.

    Args:
        compare: whether to compare the sweep's runs then, into the folder ``compare`` of the sweep.
    """

    def __init__(self, compare: bool = False) -> None:
        self.compare = compare
        self.succeeded: dict[Path, bool] = {}  # by the job's folder

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        self.succeeded[Path(config.hydra.runtime.output_dir)] = job_return.status == JobStatus.COMPLETED
        if job_return.status == JobStatus.FAILED and config.hydra.mode == RunMode.MULTIRUN:  # it would end the sweep
            job_return.status, job_return.return_value = JobStatus.COMPLETED, math.nan
        job_return.cfg = job_return.hydra_cfg = None  # Hydra would keep every job's until the sweep ends

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        if not is_main_process():
            return
        sweep = Path(config.hydra.sweep.dir)
        rows = []
        # A launcher that runs jobs elsewhere leaves their folders only.
        for job, succeeded in self.succeeded.items() or ((job, True) for job in find_runs(str(sweep))):
            run: dict[str, Any] = read_manifest(job) if succeeded else {"status": "failed"}
            rows.append([job.name, run["status"], *(run.get("test", {}).get(metric, "") for metric in METRICS)])
        print_table(["job", "status", *map(title, METRICS)], rows, caption=str(sweep))
        failed = not rows or any(row[1] != "finished" for row in rows)
        if self.compare:
            from image_translation.compare import compare  # here, because it uses this module

            try:
                compare([sweep], sweep / "compare")
            except Exception as error:
                report(error)
                failed = True
        if failed:
            raise SystemExit(1)
