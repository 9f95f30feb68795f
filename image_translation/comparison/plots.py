"""The report's figures, as SVG."""

import io
import math
import statistics
import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from image_translation.comparison.collect import Section
from image_translation.comparison.summary import Throughput
from image_translation.comparison.verdicts import HEADINGS, UNITS, Verdict

# Okabe and Ito 2008: told apart by color-blind readers too. Line styles repeat the message.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":")
MARKERS = "os^Dv<>P"
GREY = "#595959"
# Text stays text, the same data gives the same file, and a $ in a name is a $.
STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "image_translation", "text.parse_math": False}
Look = dict[str, tuple[str, str, str]]


def looks(labels: Sequence[str]) -> Look:
    """Color, line style and marker of each column, the same in every figure."""
    return {
        label: (COLORS[i % len(COLORS)], STYLES[i // len(COLORS) % len(STYLES)], MARKERS[i % len(MARKERS)])
        for i, label in enumerate(labels)
    }


@mpl.rc_context(STYLE)
def curves(section: Section, look: Look) -> str:
    """Learning curves on the val images: each column's mean, and every seed beneath it."""
    figure, axes = _figure(2)
    for ax, name, heading in zip(axes, ("val/psnr", "val/ssim"), ("val PSNR (dB) ↑", "val SSIM ↑"), strict=True):
        for column in section.trained:
            color, style, _ = look[column.label]
            at_step: dict[float, list[float]] = {}
            for run in column.runs:
                points = [(row["step"], row[name]) for row in run.curves if name in row]
                for step, value in points:
                    at_step.setdefault(step, []).append(value)
                if len(column.runs) > 1 and points:
                    ax.plot(*zip(*points, strict=True), color=color, alpha=0.3, linewidth=1)
            # A mean over fewer runs than elsewhere would jump.
            most = max(map(len, at_step.values()), default=0)
            means = [(step, statistics.fmean(v)) for step, v in sorted(at_step.items()) if len(v) == most]
            if means:
                ax.plot(*zip(*means, strict=True), color=color, linestyle=style, label=column.label,
                        marker="o" if len(means) == 1 else None)  # fmt: skip
        ax.set(xlabel="step (batches)", ylabel=heading)
    _legend(figure, axes[0])
    return _svg(figure)


@mpl.rc_context(STYLE)
def costs(rows: Sequence[Throughput], look: Look) -> str | None:
    """Quality against cost; None where no cost is known."""
    kinds: list[tuple[str, Any]] = [
        ("training time (s)", lambda row: row.training_s),
        ("GFLOP a image", lambda row: row.gflops),
        ("parameters (million)", lambda row: row.parameters and row.parameters / 1e6),
    ]
    if not any(of(row) for row in rows for _, of in kinds):
        return None
    figure, axes = _figure(len(kinds))
    for ax, (label, of) in zip(axes, kinds, strict=True):
        for row in rows:
            if of(row):
                color, _, marker = look[row.model]
                ax.plot(of(row), row.psnr, marker, color=color, markersize=8, label=row.model)
                ax.annotate(
                    row.task, (of(row), row.psnr), (0, 7), textcoords="offset points", fontsize="x-small", ha="center"
                )
        ax.set(xlabel=label, ylabel="test PSNR (dB) ↑")
        ax.margins(0.15)
        ax.set_xlim(left=0)
    _legend(figure, axes[0])
    return _svg(figure)


@mpl.rc_context(STYLE)
def intervals(verdicts: Sequence[Verdict], measure: str) -> str:
    """Differences with their 95 % intervals; one that doesn't touch zero is drawn full."""
    rows = [verdict for verdict in verdicts if verdict.measure == measure]
    figure = Figure(figsize=(8, 0.8 + 0.4 * len(rows)), layout="constrained")
    ax = figure.subplots()
    for place, verdict in enumerate(rows):
        d, sure = verdict.difference, verdict.significant
        ends = [d.low, d.high] if d.seeds_known else [d.image_low, d.image_high]
        if all(map(math.isfinite, ends)):
            ax.plot(ends, [place, place], color=COLORS[0] if sure else GREY, linewidth=2.5 if sure else 1.2)
        ax.plot(d.mean, place, "o", color=COLORS[0] if sure else GREY, markerfacecolor=None if sure else "white")
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_yticks(range(len(rows)), [f"{v.task}: {v.better} − {v.worse}" for v in rows])
    ax.invert_yaxis()
    ax.set_xlabel(f"difference in {HEADINGS[measure]}{f' ({UNITS[measure].strip()})' if UNITS[measure] else ''}")
    _plain(ax)
    return _svg(figure)


def _figure(count: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(4 * count, 3), layout="constrained")
    axes = list(figure.subplots(1, count, squeeze=False)[0])
    for ax in axes:
        _plain(ax)
    return figure, axes


def _plain(ax: Axes) -> None:
    ax.grid(color="#dddddd", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def _legend(figure: Figure, ax: Axes) -> None:
    handles = {label: handle for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    if handles:
        figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=3, frameon=False)


def _svg(figure: Figure) -> str:
    """SVG to stand in a page: its text is text, and it is the same for the same data."""
    buffer = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # the browser has it
        warnings.filterwarnings("ignore", message="constrained_layout not applied")  # a very long name
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
