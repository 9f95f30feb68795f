"""What a comparison found, in plain sentences."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from image_translation.comparison.collect import TaskComparison
from image_translation.comparison.reading import IDENTITY
from image_translation.comparison.statistics import DISAGREE, LEVEL, NOT_SIGNIFICANT, SIGNIFICANT, THESE_RUNS, Verdict
from image_translation.comparison.tables import Winners, show, show_means
from image_translation.metrics.names import METRICS

CLAIMS = {
    SIGNIFICANT: "{} is better than {} by",
    THESE_RUNS: "on these images, though other seeds may differ, {} is better than {} by",
    DISAGREE: "the mean favors {} and the ranks of the differences {} in",
    NOT_SIGNIFICANT: "there is no significant difference between {} and {} in",
}


def summarize(tasks: Sequence[TaskComparison], verdicts: Sequence[Verdict], winners: Winners) -> dict[str, list[str]]:
    """The shortest answers, what a reader must know before believing them, and one sentence for each pair of models."""
    return {
        "answers": [describe_best(task, winners) for task in tasks],
        "cautions": [caution for task in tasks for caution in cautions(task, len(verdicts))],
        "between_models": describe_pairs(v for v in verdicts if IDENTITY not in (v.better, v.worse)),
        "against_identity": describe_pairs(v for v in verdicts if IDENTITY in (v.better, v.worse)),
    }


def describe_best(task: TaskComparison, winners: Winners) -> str:
    """Which model is the best, and by which metrics."""
    won: dict[str, list[str]] = defaultdict(list)
    for metric in METRICS:
        won[winners.get((task.task, metric), "no clear winner: no model")].append(metric)
    said = [f"{label} is significantly better than all others by {join(metrics)}" for label, metrics in won.items()]
    order = sorted(task.experiments, key=lambda experiment: experiment.mean("psnr"), reverse=True)
    ranks = ", ".join(f"{experiment.label} {show_means('psnr', experiment.means('psnr'))}" for experiment in order)
    return f"On {task.task}, {'; '.join(said)} (PSNR: {ranks})."


def describe_pairs(verdicts: Iterable[Verdict]) -> list[str]:
    """One sentence for each pair of models, in which metrics with the same conclusion share a clause."""
    pairs: dict[tuple[str, ...], dict[str, list[Verdict]]] = defaultdict(lambda: defaultdict(list))
    for v in verdicts:
        pair = sorted((v.better, v.worse))
        models = pair if v.conclusion == NOT_SIGNIFICANT else (v.better, v.worse)
        pairs[v.task, *pair][CLAIMS[v.conclusion].format(*models)].append(v)
    sentences = []
    for (task, *_), claims in pairs.items():
        clauses = [f"{claim} {join([v.metric for v in group])} ({_detail(group)})" for claim, group in claims.items()]
        sentences.append(f"On {task}, {'; '.join(clauses)}.")
    return sentences


def _detail(verdicts: Sequence[Verdict]) -> str:
    """The numbers of one metric, PSNR if it is among them."""
    v = max(verdicts, key=lambda verdict: verdict.metric == "psnr")
    mean, low, high = (show(v.metric, value, sign=True) for value in (v.difference.mean, *v.difference.interval))
    head = (
        f"{v.metric.upper()} {mean}{' dB' if v.metric == 'psnr' else ''} for {v.better}, 95 % interval {low} to {high}"
    )
    return f"{head}; better on {v.difference.agreeing} of {v.difference.images} images; p {show_p(v.p)}"


def cautions(task: TaskComparison, comparisons: int) -> list[str]:
    """What a reader must know before believing the table."""
    found = []
    if any(run.manifest["data"].get("sample") for experiment in task.experiments for run in experiment.runs):
        found.append("this is the built-in sample, whose targets are drawn by image filters. It judges no model.")
    settings = {experiment.label: experiment.runs[0].settings for experiment in task.trained}
    for name in sorted({name for options in settings.values() for name in options}):
        values = {label: options.get(name) for label, options in settings.items()}
        if name.startswith(("data.", "trainer.")) and len(set(map(repr, values.values()))) > 1:
            found.append(f"{name} differs: {', '.join(f'{value} for {label}' for label, value in values.items())}.")
    for experiment in task.trained:
        if experiment.pooled:
            unknown = "" if experiment.seeds_known else "; not each has its own seed, so what seeds change is unknown"
            found.append(f"the runs of {experiment.label} differ in {', '.join(experiment.pooled)}{unknown}.")
    if 2 / 2 ** len(task.names) * comparisons >= LEVEL:
        found.append(f"{len(task.names)} test images are few for {comparisons} comparisons: p may not reach {LEVEL}.")
    return [f"{task.task}: {caution}" for caution in found]


def join(metrics: Sequence[str]) -> str:
    return " and ".join(", ".join(metrics).upper().rsplit(", ", 1))


def show_p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"
