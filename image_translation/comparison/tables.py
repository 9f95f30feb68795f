"""What the tables show."""

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from image_translation.comparison.collect import Experiment, TaskComparison, differing
from image_translation.metrics.names import BASELINES, HIGHER_IS_BETTER, METRICS, SHARPNESS

DECIMALS = {"mse": 1, "psnr": 2, "ssim": 3, "lpips": 3, "fid": 1, "kid": 4, "sharpness": 2, "msssim": 3, "vif": 3,
            "accuracy": 3, "miou": 3}  # fmt: skip


def show(metric: str, value: float, sign: bool = False) -> str:
    """A metric's value with its usual decimals and a real minus; three digits of a small error, as floats have."""
    name = metric.rpartition("/")[2]
    form = ".3g" if name == "mse" and 0 < abs(value) < 1 else f".{DECIMALS[name]}f"
    return f"{value:{'+' if sign else ''}{form}}".replace("-", "−")


def show_scores(scores: Mapping[str, float]) -> str:
    """Of one image, beneath it."""
    return f"{scores['miou']:.3f}" if "miou" in scores else f"{scores['psnr']:.2f} dB, {scores['ssim']:.3f}"


def show_p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def show_mean(task: TaskComparison, label: str, metric: str) -> str:
    """The mean of an experiment's runs, with their standard deviation if there are several; a dash if there is none."""
    means = [mean for experiment in task.experiments if experiment.label == label for mean in experiment.means(metric)]
    spread = f" ± {show(metric, statistics.stdev(means))}" if len(means) > 1 else ""
    return show(metric, statistics.fmean(means)) + spread if means else "—"


def columns(tasks: Sequence[TaskComparison], family: str = "") -> list[str]:
    """The experiments that have metrics of a family, such as ``report/``; the baselines are the last."""
    experiments = [experiment for task in tasks for experiment in task.experiments]
    found = {e.label for e in experiments if any(name.startswith(family) for run in e.runs for name in run.means)}
    return sorted(found, key=lambda label: (BASELINES.index(label) + 1 if label in BASELINES else 0, label))


def option_names(tasks: Sequence[TaskComparison]) -> list[str]:
    """The options in which runs of one model and task differ."""
    groups = defaultdict(list)
    for run in (run for task in tasks for run in task.runs):
        groups[run.task, run.model].append(run)
    return sorted({name for group in groups.values() for name in differing(group)})


def options_of(experiment: Experiment, names: Sequence[str]) -> dict[str, Any]:
    """The experiment's values of some options, as far as its runs agree."""
    first = experiment.runs[0].options if experiment.label not in BASELINES else {}
    return {name: None if name in experiment.pooled else first.get(name) for name in names}


def mean_rows(tasks: Sequence[TaskComparison]) -> list[dict[str, Any]]:
    """The content of ``table.csv``: one row for each mean, with the options in which experiments differ."""
    names = option_names(tasks)
    return [
        {
            "task": task.task, "model": experiment.label, "split": split, "metric": metric,
            "mean": statistics.fmean(means),
            "standard_deviation": statistics.stdev(means) if len(means) > 1 else None,
            "runs": len(means), "images": len(task.names) if split == "test" else None,
            **options_of(experiment, names),
        }
        for task in tasks
        for experiment in task.experiments
        for split in ("test", "train")
        for metric in (*HIGHER_IS_BETTER, SHARPNESS, *(f"report/{metric}" for metric in METRICS))
        if (means := experiment.means(metric, split))
    ]  # fmt: skip


def image_rows(tasks: Sequence[TaskComparison]) -> list[dict[str, Any]]:
    """The content of ``per_image.csv``: one row for each test image of each run."""
    return [
        {"task": task.task, "model": experiment.label}
        | ({"seed": None, "run": None} if experiment in task.baselines else {"seed": run.seed, "run": run.folder})
        | {"name": name, **scores}
        for task in tasks
        for experiment in task.experiments
        for run in experiment.runs
        for name, scores in run.scores.items()
    ]
