"""Tables of scores."""

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from image_translation.comparison.collect import TaskComparison
from image_translation.comparison.reading import IDENTITY
from image_translation.metrics.names import METRICS, title

PERCEPTUAL = ("lpips", "fid", "kid")  # distances: lower is better
Winners = Mapping[tuple[str, str], str]  # by task and metric the experiment that is the best
DECIMALS = {"mse": 1, "psnr": 2, "ssim": 3, "lpips": 3, "fid": 1, "kid": 4}


def show(metric: str, value: float, sign: bool = False) -> str:
    """A metric's value with its usual decimals and a real minus."""
    return f"{value:{'+' if sign else ''}.{DECIMALS[metric]}f}".replace("-", "−")


def show_means(metric: str, means: Sequence[float]) -> str:
    """The mean of an experiment's runs, with their standard deviation if there are several."""
    spread = f" ± {show(metric, statistics.stdev(means))}" if len(means) > 1 else ""
    return show(metric, statistics.fmean(means)) + spread


class Cell(NamedTuple):
    text: str
    best: bool = False  # significantly better than every other experiment


@dataclass(frozen=True)
class ScoreTable:
    """One row for each task, and in it for each metric one column for each experiment."""

    metrics: Sequence[str]
    cells: Mapping[tuple[str, str, str], Cell]  # by task, metric and experiment

    @property
    def headings(self) -> list[str]:
        return [f"{metric.upper()} ↓" if metric in PERCEPTUAL else title(metric) for metric in self.metrics]

    @property
    def columns(self) -> list[str]:
        """The experiments of all tasks by name, identity last."""
        return sorted({label for _, _, label in self.cells}, key=lambda label: (label == IDENTITY, label))

    @property
    def rows(self) -> dict[str, list[Cell]]:
        columns = list(itertools.product(self.metrics, self.columns))
        tasks = dict.fromkeys(task for task, _, _ in self.cells)
        return {task: [self.cells.get((task, *column), Cell("—")) for column in columns] for task in tasks}


def score_table(
    tasks: Sequence[TaskComparison],
    metrics: Sequence[str] = METRICS,
    family: str = "",
    winners: Winners | None = None,
) -> ScoreTable:
    """The means of a family of metrics, such as ``report/``; experiments without any are left out."""
    cells = {}
    for task, metric in itertools.product(tasks, metrics):
        for experiment in task.experiments:
            if means := experiment.means(family + metric):
                best = (winners or {}).get((task.task, metric)) == experiment.label
                cells[task.task, metric, experiment.label] = Cell(show_means(metric, means), best)
    return ScoreTable(metrics, cells)


def mean_rows(tasks: Sequence[TaskComparison]) -> list[dict[str, Any]]:
    """The content of ``table.csv``: one row for each mean."""
    return [
        {
            "task": task.task, "model": experiment.label, "split": split, "metric": metric,
            "mean": statistics.fmean(means),
            "standard_deviation": statistics.stdev(means) if len(means) > 1 else None,
            "runs": len(means), "images": len(task.names) if split == "test" else None,
        }
        for task in tasks
        for experiment in task.experiments
        for split in ("test", "train")
        for metric in (*METRICS, *(f"report/{metric}" for metric in METRICS))
        if (means := experiment.means(metric, split))
    ]  # fmt: skip


def image_rows(tasks: Sequence[TaskComparison]) -> list[dict[str, Any]]:
    """The content of ``per_image.csv``: one row for each test image of each run."""
    return [
        {"task": task.task, "model": experiment.label}
        | ({"seed": None, "run": None} if experiment is task.identity else {"seed": run.seed, "run": run.folder})
        | {"name": name, **scores}
        for task in tasks
        for experiment in task.experiments
        for run in experiment.runs
        for name, scores in run.scores.items()
    ]
