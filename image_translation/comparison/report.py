"""The page: everything a comparison found, in one file that needs no network."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from image_translation import __version__
from image_translation.cli.pages import render
from image_translation.comparison import images, plots
from image_translation.comparison.collect import TaskComparison, describe_options
from image_translation.comparison.statistics import Verdict
from image_translation.comparison.tables import PERCEPTUAL, score_table, show
from image_translation.comparison.wording import show_p


def render_report(tasks: Sequence[TaskComparison], verdicts: Sequence[Verdict], **values: Any) -> str:
    """The page as HTML; ``values`` are further ones of its template."""
    album: dict[str, str] = {}
    galleries = [images.gather(task, number, len(tasks), album) for number, task in enumerate(tasks)]
    look = plots.looks(tasks)
    runs = [
        (experiment.label, run, describe_options(run, [run for other in task.trained for run in other.runs]))
        for task in tasks for experiment in task.trained for run in experiment.runs
    ]  # fmt: skip
    return render(
        "report.html.j2", **values, version=__version__, made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        tasks=tasks, galleries=galleries, runs=runs, verdicts=verdicts,
        report_table=score_table(tasks, family="report/"),
        perceptual_table=score_table(tasks, PERCEPTUAL, "perceptual/"),
        intervals={metric: plots.intervals(verdicts, metric) for metric in ("psnr", "ssim")},
        costs=plots.costs(tasks, look),
        curves={task.task: plots.curves(task, look) for task in tasks
                if any(run.curves for _, run, _ in runs if run.task == task.task)},
        album=album, thumb=images.THUMB, full=images.FULL, show=show, show_p=show_p,
    )  # fmt: skip
