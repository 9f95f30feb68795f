"""What a sweep made of its jobs."""

from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from image_translation.cli.console import print_table
from image_translation.cli.errors import UserError
from image_translation.cli.process import is_main_process
from image_translation.metrics.names import METRICS
from image_translation.runs.folder import read_manifest


class SweepTable(Callback):
    """Ends a sweep with a table of its jobs, and with status 1 if one of them didn't finish.

    Args:
        compare: whether to compare the sweep's runs then, into the folder ``compare`` of the sweep.
    """

    def __init__(self, compare: bool = False) -> None:
        self.compare = compare
        self.jobs: list[Path] = []

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        self.jobs.append(Path(config.hydra.runtime.output_dir))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        job_return.cfg = job_return.hydra_cfg = None  # Hydra would keep every job's until the sweep ends

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        if not is_main_process():
            return
        sweep = Path(config.hydra.sweep.dir)
        # A launcher that runs jobs elsewhere leaves their folders only.
        jobs = self.jobs or sorted(path.parent for path in sweep.rglob("run.json"))
        rows, failed = [], not jobs
        for job in jobs:
            try:
                run = read_manifest(job)
            except UserError:
                run = {"status": "failed"}
            failed |= run["status"] != "finished"
            rows.append([job.name, run["status"], *(run.get("test", {}).get(metric, "") for metric in METRICS)])
        print_table(["job", "status", "MSE ↓", "PSNR ↑", "SSIM ↑"], rows, caption=str(sweep))
        if self.compare:
            from image_translation.compare import compare  # here, because it uses this module

            try:
                compare([sweep], sweep / "compare")
            except Exception as error:
                from image_translation.cli.messages import report

                report(error)
                failed = True
        if failed:
            raise SystemExit(1)
