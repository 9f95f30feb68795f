"""What memorising gained, what a model cost, and metrics that only some runs have."""

import dataclasses
import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from image_translation.cli.errors import UserError
from image_translation.comparison.collect import Column, Section
from image_translation.comparison.verdicts import HIGHER_IS_BETTER, NAMES, Cell, Verdict, mean_cell
from image_translation.metrics.names import METRICS

PERCEPTUAL = ("lpips", "fid", "kid")  # see image_translation.perceptual, which needs torch


@dataclass(frozen=True)
class Generalization:
    """A column's metrics on the images it was trained on, beside those on unseen ones."""

    task: str
    model: str
    train: dict[str, float]
    test: dict[str, float]
    runs: int

    def gap(self, measure: str) -> float:
        return self.test[measure] - self.train[measure]


def generalization(section: Section) -> list[Generalization]:
    """For the columns with runs whose training images were measured (``evaluate split=train``), of these runs."""
    rows = []
    for column in section.columns:
        runs = [run for run in column.runs if run.train]
        measured = dataclasses.replace(column, runs=runs)
        train = {m: measured.means(m, "train") for m in METRICS}
        if all(train.values()):
            rows.append(Generalization(
                section.task, column.label, {m: statistics.fmean(train[m]) for m in METRICS},
                {m: statistics.fmean(measured.means(m)) for m in METRICS}, len(runs),
            ))  # fmt: skip
    return rows


def ranking_survives(section: Section, rows: Sequence[Generalization], verdicts: Sequence[Verdict]) -> str:
    """Whether the models stand in the same order on training and on unseen images, in a sentence."""
    measured = [row for row in rows if row.model in {column.label for column in section.trained}]
    missing = [column.label for column in section.trained if column.label not in {row.model for row in measured}]
    if missing:
        return (
            f"On {section.task}, training images were not measured for {', '.join(missing)}: "
            "python -m image_translation.evaluate run=… split=train does it."
        )
    if len(measured) < 2:
        return f"On {section.task} there is one model, so there is no ranking."
    said, turned, settled = [], False, False
    for measure in METRICS:
        before, after = (_ranking(measured, split, measure) for split in ("train", "test"))
        sure = {
            frozenset((v.better, v.worse))
            for v in verdicts if v.task == section.task and v.measure == measure and v.significant
        }  # fmt: skip
        pairs = set(map(frozenset, itertools.combinations(after, 2)))
        swapped = {pair for pair in pairs if _first(before, pair) != _first(after, pair)}
        # A pair that changes its order counts only if its order in test is beyond chance.
        turned, settled = turned or bool(swapped & sure), settled or bool(pairs & sure)
        doubt = "" if all(frozenset(pair) in sure for pair in itertools.pairwise(after)) else ", which may be chance"
        orders = [" before ".join(order) for order in (before, after)]
        order = f"{orders[0]} in training, {orders[1]} in test" if swapped else f"{orders[1]} in both"
        said.append(f"by {NAMES[measure]} {order}{doubt}")
    survives = "the ranking does not survive" if turned else "the ranking survives"
    verb = survives if settled else "no ranking is beyond chance"
    return f"On {section.task} {verb} on unseen images: {'; '.join(said)}."


def _ranking(rows: Sequence[Generalization], split: str, measure: str) -> list[str]:
    def value(row: Generalization) -> float:
        return (row.train if split == "train" else row.test)[measure]

    return [row.model for row in sorted(rows, key=value, reverse=HIGHER_IS_BETTER[measure])]


def _first(order: Sequence[str], pair: frozenset[str]) -> str:
    return next(model for model in order if model in pair)


@dataclass(frozen=True)
class Throughput:
    """What a column's runs cost on average; None where it was not recorded."""

    task: str
    model: str
    psnr: float
    parameters: float | None
    gflops: float | None  # a translated image
    training_s: float | None
    images_per_s: float | None  # in training
    peak_mib: float | None
    epochs: float | None
    device: str
    precision: str


def cost(section: Section, column: Column) -> Throughput:
    def mean(*keys: str) -> float | None:
        values = [_number(run.manifest, *keys) for run in column.runs]
        known = [value for value in values if value is not None]
        return statistics.fmean(known) if known else None

    flops = mean("cost", "flops_per_image")
    devices = sorted({_device(run.manifest) for run in column.runs})
    return Throughput(
        section.task, column.label, statistics.fmean(column.means("psnr")),
        parameters=mean("parameters"),
        gflops=None if flops is None else flops / 1e9,
        training_s=mean("cost", "training_s"),
        images_per_s=mean("cost", "training_images_per_s"),
        peak_mib=mean("cost", "peak_memory_mib"),
        epochs=mean("epochs"),
        device=", ".join(devices),
        precision=", ".join(sorted({str(run.manifest.get("precision")) for run in column.runs})),
    )  # fmt: skip


def _number(manifest: Mapping[str, Any], *keys: str) -> float | None:
    node: Any = manifest
    for key in keys:
        node = node.get(key) if isinstance(node, dict) else None
    try:
        value = float(node) if isinstance(node, int | float) and not isinstance(node, bool) else math.nan
    except OverflowError:
        return None
    return value if math.isfinite(value) else None


def _device(manifest: Mapping[str, Any]) -> str:
    device = manifest.get("device")
    if not isinstance(device, dict):
        return "unknown"
    count = device.get("count", 1)
    return f"{f'{count} × ' if count != 1 else ''}{device.get('type')} {device.get('name')}"


Rows = dict[str, dict[tuple[str, str], Cell]]


def further_cells(sections: Sequence[Section], family: str, metrics: Sequence[str]) -> Rows:
    """Rows of a table of metrics that only some runs have, such as ``report/mse``: by task, then as ``cells``."""
    rows = {
        section.task: {
            (measure, column.label): mean_cell(measure, means)
            for measure, column in itertools.product(metrics, section.columns)
            if (means := column.means(f"{family}/{measure}"))
        }
        for section in sections
    }
    return {task: row for task, row in rows.items() if row}


def with_reference(rows: Rows, reference: Mapping[str, Any], tasks: Sequence[str]) -> Rows:
    """The rows, with figures printed elsewhere as columns of their own.

    Raises:
        UserError: the reference is not as ``conf/reference/study.yaml`` is.
    """
    both = {task: dict(row) for task, row in rows.items()}
    try:
        for task in tasks:
            for model, scores in reference["scores"].get(task, {}).items():
                label = f"{model}, {reference['name']}"
                printed = {(m, label): Cell(m, float(scores[m]), None) for m in METRICS if m in scores}
                both[task] = both.get(task, {}) | printed
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError("reference must have name, note, and scores by task, model and measure (numbers).") from error
    return both
