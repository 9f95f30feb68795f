"""Find runs, group those that can be compared, and say why the others cannot."""

import math
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from image_translation.cli.errors import UserError, nearest
from image_translation.comparison.folds import pool_folds
from image_translation.comparison.reading import FinishedRun, read_finished
from image_translation.metrics.names import BASELINES, leading
from image_translation.runs.folder import CONFIG, MANIFEST


@dataclass(frozen=True)
class Excluded:
    """A run that is not compared; ``run`` is its content if it could be read."""

    folder: Path
    reason: str
    run: FinishedRun | None = None


@dataclass(frozen=True)
class Experiment:
    """Runs that differ in their seeds only, or also in options that ``group_by`` leaves out."""

    label: str
    runs: list[FinishedRun]

    @property
    def seeds_known(self) -> bool:
        """Whether the runs show what another seed changes; none changes a baseline."""
        return self.label in BASELINES or len({run.seed for run in self.runs}) == len(self.runs) > 1

    @property
    def pooled(self) -> list[str]:
        """Options other than the seed in which the runs differ."""
        return differing(self.runs)

    @property
    def with_train(self) -> "Experiment":
        """The runs whose training images were evaluated, too."""
        return replace(self, runs=[run for run in self.runs if run.train])

    def scores(self, metric: str) -> NDArray[np.float64]:
        """The scores of the test images, an array (runs, images)."""
        return np.array([[row[metric] for row in run.scores.values()] for run in self.runs])

    def means(self, metric: str, split: str = "test") -> list[float]:
        """The means over the images of a split, one of each run that has the metric."""
        tables = [run.means if split == "test" else run.train for run in self.runs]
        return [table[metric] for table in tables if metric in table]

    def mean(self, metric: str, split: str = "test") -> float:
        return statistics.fmean(self.means(metric, split))

    @property
    def quality(self) -> float:
        """The mean of the metric by which models are ranked."""
        return self.mean(leading(self.runs[0].metrics))

    def mean_fact(self, name: str) -> float | None:
        """The mean of a number in the runs' manifests, or in ``cost`` there; None if no run recorded it."""
        manifests = [run.manifest | (run.manifest.get("cost") or {}) for run in self.runs]
        known = [manifest[name] for manifest in manifests if manifest.get(name) is not None]
        return statistics.fmean(known) if known else None


@dataclass(frozen=True)
class TaskComparison:
    """The experiments of a task, all tested on the same images."""

    task: str
    trained: list[Experiment]
    baselines: list[Experiment]  # as if they were models; identity, or what stands in for it, is the last
    best: list[Experiment]  # of the trained ones, those that tests, figures and images are of

    @property
    def experiments(self) -> list[Experiment]:
        return [*self.trained, *self.baselines]

    @property
    def compared(self) -> list[Experiment]:
        return [*self.best, *self.baselines]

    @property
    def identity(self) -> Experiment:
        return self.baselines[-1]

    @property
    def runs(self) -> list[FinishedRun]:
        return [run for experiment in self.trained for run in experiment.runs]

    @property
    def metrics(self) -> list[str]:
        return self.identity.runs[0].metrics

    @property
    def leaders(self) -> list[str]:
        """The two metrics that figures show: that by which models are ranked is the first."""
        first = leading(self.metrics)
        return [first, "accuracy" if first == "miou" else "ssim"]

    @property
    def names(self) -> list[str]:
        """The names of the test images."""
        return list(self.identity.runs[0].scores)


def collect(
    roots: Iterable[Path], group_by: Sequence[str] = (), most: int = sys.maxsize
) -> tuple[list[TaskComparison], list[Excluded]]:
    """Read the runs at any depth under some folders, and group those that can be compared.

    ``group_by`` has the options that make experiments, beside the model; without any, every option but the seed does.
    UserError if no run has one of them. ``most`` limits the best models of a task.
    """
    folders = {path.parent for root in roots for path in root.rglob(MANIFEST)}
    folders |= {path.parents[1] for root in roots for path in root.rglob(CONFIG)}  # a run that failed early
    runs: list[FinishedRun] = []
    excluded: list[Excluded] = []
    for folder in sorted(folders):
        try:
            runs.append(read_finished(folder))
        except Exception as error:  # one damaged run must not prevent the comparison of the others
            reason = str(error) if isinstance(error, UserError) else f"can't be read ({type(error).__name__}: {error})."
            excluded.append(Excluded(folder, reason))
    known = {name for run in runs for name in run.options}
    if runs and (unknown := [name for name in group_by if name not in known]):
        raise UserError(f"group_by={unknown[0]}: no run has such an option.{nearest(unknown[0], known)}")

    runs, incomplete = pool_folds(sorted(runs, key=lambda run: str(run.manifest.get("started")))[::-1])
    excluded += [Excluded(run.folder, reason, run) for run, reason in incomplete]
    tasks = []
    for task in sorted({run.task for run in runs}):
        selected, others = _select([run for run in runs if run.task == task])
        excluded += others
        trained = _experiments(selected, group_by)
        chosen = {e.label for e in sorted(trained, key=lambda experiment: experiment.quality)[-most:]}
        best = [experiment for experiment in trained if experiment.label in chosen]
        tasks.append(TaskComparison(task, trained, _baselines(selected), best))
    return tasks, sorted(excluded, key=lambda item: str(item.folder))


def _select(runs: Sequence[FinishedRun]) -> tuple[list[FinishedRun], list[Excluded]]:
    """The largest set of a task's runs that can be compared, and the others. Of repeated runs the first is selected."""
    usual = Counter(repr(run.condition) for run in runs).most_common(1)[0][0]
    main = [run for run in runs if repr(run.condition) == usual]
    usual_mse = {}
    for label in BASELINES:
        if every := [run.means[f"{label}/{run.metrics[0]}"] for run in main if label in run.baselines]:
            usual_mse[label] = statistics.median_low(every)
    selected: dict[str, FinishedRun] = {}
    excluded = []
    for run in runs:
        mine, others = run.condition, main[0].condition
        unlike = next((name for name in others | mine if mine.get(name) != others.get(name)), None)
        known = {label: run.means[f"{label}/{run.metrics[0]}"] for label in usual_mse if label in run.baselines}
        off = next((b for b, m in known.items() if not math.isclose(m, usual_mse[b], rel_tol=1e-3, abs_tol=1e-3)), None)
        key = repr((run.model, run.seed, sorted(run.settings.items(), key=str)))
        if unlike:
            reason = f"not comparable with the other runs: {unlike} {mine.get(unlike)} instead of {others.get(unlike)}."
        elif off:  # whatever the options say: of the same images the baselines have the same scores
            reason = f"not comparable with the other runs: MSE of {off} {known[off]:.4g}, usual {usual_mse[off]:.4g}."
        elif key in selected and run.model not in BASELINES:
            reason = f"repeated later with the same options and seed, in {selected[key].folder}."
        else:
            selected[key] = run
            continue
        excluded.append(Excluded(run.folder, reason, run))
    return list(selected.values())[::-1], excluded


def _experiments(runs: Sequence[FinishedRun], group_by: Sequence[str]) -> list[Experiment]:
    groups: dict[str, list[FinishedRun]] = defaultdict(list)
    names = differing_by_model(runs)
    for run in sorted(runs, key=lambda run: run.seed):
        if run.model not in BASELINES:
            options = describe_options(run, group_by or names[run.model])
            groups[f"{run.model} ({options})" if options else run.model].append(run)
    return [Experiment(label, groups[label]) for label in sorted(groups)]


def _baselines(runs: Sequence[FinishedRun]) -> list[Experiment]:
    """What every run has beside its model. It is the same in all of them, though not each has all metrics."""

    def merged(tables: Iterable[Mapping[str, float]], label: str) -> dict[str, float]:
        every = {name: value for table in tables for name, value in table.items()}
        return {name.removeprefix(f"{label}/"): v for name, v in every.items() if name.startswith(f"{label}/")}

    experiments = []
    for label in BASELINES:
        # The first is a run of the baseline itself, if there is one: it has the images.
        if having := sorted((run for run in runs if label in run.baselines), key=lambda run: run.model != label):
            ordered = [*having[::-1], having[0]]  # what it has itself counts
            means, train = merged((run.means for run in ordered), label), merged((run.train for run in ordered), label)
            experiments.append(
                Experiment(label, [replace(having[0], scores=having[0].baselines[label], means=means, train=train)])
            )
    return experiments


def differing(runs: Sequence[FinishedRun]) -> list[str]:
    """The options of the experiment in which runs differ."""
    names = sorted({name for run in runs for name in run.settings})
    return [name for name in names if len({repr(run.settings.get(name)) for run in runs}) > 1]


def differing_by_model(runs: Sequence[FinishedRun]) -> dict[str, list[str]]:
    """By model the options in which its runs differ."""
    return {model: differing([run for run in runs if run.model == model]) for model in {run.model for run in runs}}


def describe_options(run: FinishedRun, names: Sequence[str]) -> str:
    """A run's values of some options, with short names where these are unique."""
    names = [name for name in names if not name.endswith("._target_")] or names  # other options tell more
    short = {name: name.rpartition(".")[2] for name in names}
    count = Counter(short.values())
    return ", ".join(f"{short[name] if count[short[name]] == 1 else name}={run.options.get(name)}" for name in names)
