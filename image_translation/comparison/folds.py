"""Cross-validation: the runs of all folds are one, in which every image was tested once."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from image_translation.comparison.reading import FinishedRun, Scores
from image_translation.metrics.names import HIGHER_IS_BETTER

FOLDS, FOLD = "data.folds", "data.fold"
NOT_POOLED = ("report/psnr", "perceptual/fid", "perceptual/kid")  # which are no means over images


def pool_folds(runs: Sequence[FinishedRun]) -> tuple[list[FinishedRun], list[tuple[FinishedRun, str]]]:
    """Runs, the latest first, with one in the place of those that differ in their fold only.

    Also the runs of which folds are missing, and of repeated ones the earlier, each with the reason.
    """
    pooled, left_out = [], []
    groups: dict[str, dict[int, FinishedRun]] = defaultdict(dict)
    for run in runs:
        if not run.options.get(FOLDS):
            pooled.append(run)
            continue
        settings = {name: value for name, value in run.settings.items() if name != FOLD}
        group = groups[repr((run.task, run.model, run.seed, sorted(settings.items(), key=str)))]
        fold = int(run.options[FOLD])
        if fold in group:
            left_out.append((run, f"repeated later with the same options, seed and fold, in {group[fold].folder}."))
        else:
            group[fold] = run
    for group in groups.values():
        first = next(iter(group.values()))
        if missing := [str(fold) for fold in range(int(first.options[FOLDS])) if fold not in group]:
            reason = f"its cross-validation lacks a finished run with data.fold={','.join(missing)}."
            left_out += [(run, reason) for run in group.values()]
        else:
            pooled.append(pool([group[fold] for fold in sorted(group)]))
    return pooled, left_out


def pool(runs: Sequence[FinishedRun]) -> FinishedRun:
    """The runs of all folds as one."""
    first = runs[0]
    labels = [label for label in first.baselines if all(label in run.baselines for run in runs)]
    scores = _union([run.scores for run in runs])
    baselines = {label: _union([run.baselines[label] for run in runs]) for label in labels}
    prints = "".join(str(run.condition["data fingerprint"]) for run in runs)
    condition = first.condition | {
        "data fingerprint": hashlib.sha256(prints.encode()).hexdigest()[:12],
        "test images": f"{len(scores)} in {len(runs)} folds",
    }
    without = {name: value for name, value in first.settings.items() if name != FOLD}
    return replace(
        first, places={name: place for run in runs for name, place in run.places.items()}, settings=without,
        condition=condition, scores=scores, baselines=baselines, means=_means(runs), train=_train_means(runs),
        curves=_curves(runs),
    )  # fmt: skip


def _union(tables: Sequence[Scores]) -> Scores:
    """The images of all tables, by name."""
    return dict(sorted(item for table in tables for item in table.items()))


def _means(runs: Sequence[FinishedRun]) -> dict[str, float]:
    """Of the metrics that all have, over all images."""
    names = set.intersection(*(set(run.means) for run in runs))
    weights = [len(run.scores) for run in runs]
    return {name: float(np.average([run.means[name] for run in runs], weights=weights))
            for name in names if not name.endswith(NOT_POOLED)}  # fmt: skip


def _train_means(runs: Sequence[FinishedRun]) -> dict[str, float]:
    names = set.intersection(*(set(run.train) for run in runs)) & set(HIGHER_IS_BETTER)
    return {name: float(np.mean([run.train[name] for run in runs])) for name in names}


def _curves(runs: Sequence[FinishedRun]) -> Scores:
    """The means of what all have, at the steps that all have."""
    curves: Scores = {}
    for step in runs[0].curves:
        rows = [run.curves[step] for run in runs if step in run.curves]
        if len(rows) == len(runs):
            names = set.intersection(*map(set, rows))
            curves[step] = {name: float(np.mean([row[name] for row in rows])) for name in names}
    return curves
