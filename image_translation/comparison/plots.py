"""The figures of the page, as data URLs of SVG files."""

import io
import math
import statistics
import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from image_translation.cli.pages import data_url
from image_translation.comparison.collect import TaskComparison
from image_translation.comparison.statistics import SIGNIFICANT, Verdict
from image_translation.metrics.names import HIGHER_IS_BETTER, title

# Okabe and Ito 2008: color-blind readers can tell them apart too. Line styles and markers repeat the message.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLE: Any = {
    "svg.fonttype": "none", "svg.hashsalt": "image_translation",  # text stays text; same data, same file
    "text.parse_math": False,  # a $ in a name is a $
    "figure.constrained_layout.use": True, "legend.frameon": False, "axes.grid": True, "axes.axisbelow": True,
    "axes.spines.top": False, "axes.spines.right": False, "grid.color": "#dddddd", "grid.linewidth": 0.6,
}  # fmt: skip
LABELS = {metric: title(metric).replace("PSNR", "PSNR (dB)") for metric in HIGHER_IS_BETTER}
Looks = dict[str, dict[str, Any]]


def looks(tasks: Sequence[TaskComparison]) -> Looks:
    """Color, line style and marker of each experiment, the same in every figure."""
    return {
        label: {"color": COLORS[i % 7], "linestyle": ("-", "--", "-.", ":")[i // 7 % 4], "marker": "os^Dv<>P"[i % 8]}
        for i, label in enumerate(sorted({experiment.label for task in tasks for experiment in task.best}))
    }


@mpl.rc_context(STYLE)
def curves(task: TaskComparison, look: Looks) -> str:
    """Learning curves on the val images, over steps and over time: each experiment's mean, and its seeds beneath it."""
    figure = Figure(figsize=(12, 3))
    first, second = task.leaders
    panels = ((first, "step"), (second, "step"), (first, "training time (s)"))
    for ax, (metric, over) in zip(figure.subplots(1, 3), panels, strict=True):
        for experiment in task.best:
            seconds, steps_done = experiment.mean_fact("training_s"), experiment.mean_fact("steps")
            scale = 1.0 if over == "step" else (seconds or math.nan) / (steps_done or math.nan)  # unknown: not drawn
            name, style = f"val/{metric}", look[experiment.label]
            runs = [{float(s): row[name] for s, row in run.curves.items() if name in row} for run in experiment.runs]
            for run in runs:
                ax.plot([scale * s for s in run], run.values(), color=style["color"], alpha=0.3, linewidth=1)
            steps = sorted(set.intersection(*map(set, runs)))  # where some seeds have no value, the mean would jump
            means = [statistics.fmean(run[step] for run in runs) for step in steps]
            places = [scale * step for step in steps]
            ax.plot(places, means, label=experiment.label, markevery=max(1, len(steps) - 1), **style)
        ax.set(xlabel=over, ylabel=f"val {LABELS[metric]}")
    return _url(figure)


@mpl.rc_context(STYLE)
def means(task: TaskComparison, look: Looks) -> str:
    """Each experiment's mean over the test images with its 95 % interval, and the baselines as lines."""
    rows = sorted(task.best, key=lambda experiment: experiment.quality)
    figure = Figure(figsize=(8, 1 + 0.35 * len(rows)))
    for ax, metric in zip(figure.subplots(1, 2, sharey=True), task.leaders, strict=True):
        for y, experiment in enumerate(rows):
            per_image = experiment.scores(metric).mean(axis=0)
            half = 1.96 * per_image.std(ddof=1) / len(per_image) ** 0.5 if len(per_image) > 1 else 0.0
            style = look[experiment.label] | {"linestyle": ""}
            ax.errorbar(experiment.mean(metric), y, xerr=half, capsize=3, **style)
        for baseline, dashes in zip(task.baselines[::-1], ("--", ":"), strict=False):
            ax.axvline(baseline.mean(metric), color="black", linestyle=dashes, linewidth=1, label=baseline.label)
        ax.set_yticks(range(len(rows)), [experiment.label for experiment in rows])
        ax.set(xlabel=f"test {LABELS[metric]}", ylim=(-0.5, len(rows) - 0.5))
    figure.axes[0].legend(loc="lower left", bbox_to_anchor=(0, 1))
    return _url(figure, legend=False)


@mpl.rc_context(STYLE)
def costs(tasks: Sequence[TaskComparison], look: Looks) -> str:
    """Quality against cost."""
    trained = [(task.task, experiment) for task in tasks for experiment in task.best]
    quality = " or ".join(dict.fromkeys(LABELS[task.leaders[0]] for task in tasks))
    figure = Figure(figsize=(12, 3))
    kinds = {"training_s": ("training time (s)", 1), "flops_per_image": ("GFLOP per image", 1e9),
             "parameters": ("parameters (million)", 1e6)}  # fmt: skip
    for ax, (name, (heading, unit)) in zip(figure.subplots(1, 3), kinds.items(), strict=True):
        for task, experiment in trained:
            if (cost := experiment.mean_fact(name)) is not None:
                at = cost / unit, experiment.quality
                ax.plot(*at, label=experiment.label, markersize=8, **look[experiment.label] | {"linestyle": ""})
                ax.annotate(task, at, (0, 7), textcoords="offset points", fontsize="x-small", ha="center")
        ax.margins(0.15)
        ax.set(xlabel=heading, ylabel=f"test {quality}", xlim=(0, None))
    return _url(figure)


@mpl.rc_context(STYLE)
def intervals(verdicts: Sequence[Verdict], metric: str) -> str:
    """Differences with their 95 % intervals; a significant one is blue."""
    rows = [verdict for verdict in verdicts if verdict.metric == metric]
    figure = Figure(figsize=(8, 0.8 + 0.4 * len(rows)))
    ax = figure.subplots()
    for y, verdict in enumerate(rows):
        significant = verdict.conclusion == SIGNIFICANT
        color = COLORS[0] if significant else "#595959"
        ax.plot(verdict.difference.interval, (y, y), color=color, linewidth=2.5 if significant else 1.2)
        ax.plot(verdict.difference.mean, y, "o", color=color, markerfacecolor=color if significant else "white")
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_yticks(range(len(rows)), [f"{v.task}: {v.better} − {v.worse}" for v in rows])
    ax.invert_yaxis()
    ax.set_xlabel(f"difference in {LABELS[metric]}")
    return _url(figure)


def _url(figure: Figure, legend: bool = True) -> str:
    """A figure as the data URL of an SVG file, with one legend for all of its axes."""
    labels = [ax.get_legend_handles_labels() for ax in figure.axes]
    handles = {label: handle for pair in labels for handle, label in zip(*pair, strict=True)}
    if handles and legend:
        figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=3)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a glyph that the browser has, or of a very long name
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return data_url("image/svg+xml", buffer.getvalue())
