"""The main table, in the study's arrangement: one row a task, one group of columns a measure, the models within it."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from image_translation.comparison.collect import Section
from image_translation.comparison.reading import IDENTITY
from image_translation.comparison.verdicts import HEADINGS, Cell
from image_translation.metrics.names import METRICS


@dataclass(frozen=True)
class MainTable:
    """Cells by task, then by (measure, column); columns by name, identity last."""

    rows: Mapping[str, Mapping[tuple[str, str], Cell]]
    metrics: Sequence[str] = METRICS

    @property
    def columns(self) -> list[str]:
        labels = list(dict.fromkeys(label for row in self.rows.values() for _, label in row))
        return sorted(labels, key=lambda label: (label == IDENTITY, label))

    @property
    def headings(self) -> list[str]:
        return [HEADINGS[measure] for measure in self.metrics]

    def cells(self, task: str) -> list[tuple[str, str, Cell | None]]:
        """(measure, column, cell) of a row from left to right."""
        return [(m, label, self.rows[task].get((m, label))) for m in self.metrics for label in self.columns]


def caption_of(sections: Sequence[Section]) -> str:
    """What the main table shows, and how to read it."""
    counts = [len(column.runs) for section in sections for column in section.trained] or [0]
    runs = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    pooled = any(column.pooled for section in sections for column in section.trained)
    kind = "runs" if pooled else "seeds"
    mean = f" Mean over {runs} {kind} of each model, ± standard deviation." if max(counts) > 1 else ""
    return (
        f"ImageScores of test images.{mean} Bold: best, and beyond chance better than every other column. "
        f"{IDENTITY} returns its input."
    )


def tidy(sections: Sequence[Section]) -> tuple[list[dict[str, Any]], list[str]]:
    """One row for each mean, and the columns' names."""
    rows = [
        {
            "task": section.task, "model": column.label, "split": split, "measure": measure,
            "mean": statistics.fmean(means),
            "standard_deviation": statistics.stdev(means) if len(means) > 1 else None,
            "runs": len(means), "images": len(section.names) if split == "test" else None,
        }
        for section in sections
        for column in section.columns
        for split in ("test", "train")
        for measure in (*METRICS, *(f"report/{measure}" for measure in METRICS))
        if (means := column.means(measure, split))
    ]  # fmt: skip
    return rows, ["task", "model", "split", "measure", "mean", "standard_deviation", "runs", "images"]


def per_image(sections: Sequence[Section]) -> tuple[list[dict[str, Any]], list[str]]:
    """One row for each test image of each run, and the columns' names."""
    rows = []
    for section in sections:
        for column in section.trained:
            for run in column.runs:
                where = {"task": section.task, "model": column.label, "seed": run.seed, "run": run.folder}
                rows += [where | {"name": name, **scores} for name, scores in run.scores.items()]
        of_inputs = section.columns[-1].runs[0].identity
        rows += [{"task": section.task, "model": IDENTITY, "name": name, **row} for name, row in of_inputs.items()]
    return rows, ["task", "model", "seed", "run", "name", *METRICS]
