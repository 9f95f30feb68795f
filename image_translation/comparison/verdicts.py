"""Which column is better, whether that may be chance, and how one says so."""

import dataclasses
import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from image_translation.comparison.collect import Section
from image_translation.comparison.reading import IDENTITY
from image_translation.comparison.statistics import LEVEL, Difference, difference, holm
from image_translation.metrics.names import METRICS

HIGHER_IS_BETTER = {"mse": False, "psnr": True, "ssim": True}


DECIMALS = {"mse": 1, "psnr": 2, "ssim": 3, "lpips": 3, "fid": 1, "kid": 4}


NAMES = {"mse": "MSE", "psnr": "PSNR", "ssim": "SSIM"}


UNITS = {"mse": "", "psnr": " dB", "ssim": ""}


SURE, THESE_RUNS, MAYBE = "beyond chance", "these runs only", "may be chance"


DISAGREE = "mean and ranks disagree"


HEADINGS = {"mse": "MSE ↓", "psnr": "PSNR ↑", "ssim": "SSIM ↑", "lpips": "LPIPS ↓", "fid": "FID ↓", "kid": "KID ↓"}


def show(measure: str, value: float, sign: bool = False) -> str:
    """A measure's value with its usual decimals and a real minus."""
    return f"{value:{'+' if sign else ''}.{DECIMALS[measure.rpartition('/')[2]]}f}".replace("-", "−")


@dataclass(frozen=True)
class Cell:
    """A mean over seeds, with their standard deviation where there are several."""

    measure: str
    mean: float
    spread: float | None
    best: bool = False  # beyond chance better than every other column

    def __str__(self) -> str:
        spread = "" if self.spread is None else f" ± {show(self.measure, self.spread)}"
        return show(self.measure, self.mean) + spread


@dataclass(frozen=True)
class Verdict:
    """Two columns of a section compared in one measure, the better one first."""

    task: str
    measure: str
    better: str
    worse: str
    difference: Difference  # better minus worse
    better_mean: float
    worse_mean: float
    p: float  # after Holm's correction over the whole table
    better_on: int  # images

    @property
    def significant(self) -> bool:
        return self.conclusion == SURE

    @property
    def conclusion(self) -> str:
        """Whether other images would show the same (``THESE_RUNS``), and other seeds, too (``SURE``).

        With one run of a model nobody knows what another seed would change.
        """
        d = self.difference
        if not (self.p < LEVEL and d.beyond_images()):
            return MAYBE
        if not d.agrees:
            return DISAGREE
        return SURE if d.beyond_seeds() else THESE_RUNS


def judge(sections: Sequence[Section]) -> list[Verdict]:
    """Every pair of columns of every section in every measure."""
    found = []
    for section in sections:
        for a, b in itertools.combinations(section.columns, 2):
            for measure in METRICS:
                means = [statistics.fmean(column.means(measure)) for column in (a, b)]
                swap = (means[1] > means[0]) == HIGHER_IS_BETTER[measure] and means[0] != means[1]
                better, worse = (b, a) if swap else (a, b)
                d = difference(
                    better.scores(measure), worse.scores(measure),
                    a_varies=not better.deterministic, b_varies=not worse.deterministic,
                )  # fmt: skip
                known = better.seeds_known and worse.seeds_known
                found.append((section, measure, better, worse, dataclasses.replace(d, seeds_known=known)))
    ps = holm([d.p for *_, d in found])
    return [
        Verdict(
            section.task, measure, better.label, worse.label, d,
            statistics.fmean(better.means(measure)), statistics.fmean(worse.means(measure)), p,
            better_on=d.higher if HIGHER_IS_BETTER[measure] else d.lower,
        )
        for (section, measure, better, worse, d), p in zip(found, ps, strict=True)
    ]  # fmt: skip


def cells(section: Section, verdicts: Sequence[Verdict]) -> dict[tuple[str, str], Cell]:
    """A section's row of the main table, by measure and column."""
    row = {}
    for measure, column in itertools.product(METRICS, section.columns):
        of_column = [v for v in verdicts if v.task == section.task and v.measure == measure
                     and column.label in (v.better, v.worse)]  # fmt: skip
        best = bool(of_column) and all(v.better == column.label and v.significant for v in of_column)
        row[measure, column.label] = mean_cell(measure, column.means(measure), best)
    return row


def mean_cell(measure: str, means: Sequence[float], best: bool = False) -> Cell:
    return Cell(measure, statistics.fmean(means), statistics.stdev(means) if len(means) > 1 else None, best)


def answers(sections: Sequence[Section], table: Mapping[str, Mapping[tuple[str, str], Cell]]) -> list[str]:
    """The shortest answer for each task: which column is best, and by what."""
    said = []
    for section in sections:
        best: dict[str, list[str]] = {}
        for (measure, label), cell in table[section.task].items():
            if cell.best:
                best.setdefault(label, []).append(NAMES[measure])
        if best:
            who = "; ".join(f"{label} is best by {listing(metrics)}" for label, metrics in best.items())
            left = [NAMES[m] for m in METRICS if not any(NAMES[m] in metrics for metrics in best.values())]
            said.append(f"{section.task}: {who}, beyond chance" + (f"; {listing(left)} not settled." if left else "."))
        else:
            cells = {label: cell for (measure, label), cell in table[section.task].items() if measure == "psnr"}
            order = sorted(cells, key=lambda label: cells[label].mean, reverse=True)
            ranks = ", ".join(f"{label} {cells[label]}" for label in order)
            said.append(f"{section.task}: not settled; no column is best beyond chance (PSNR: {ranks}).")
    return said


def sentences(verdicts: Sequence[Verdict]) -> list[tuple[str, bool]]:
    """One plain sentence for each pair of columns, and whether identity is one of them; those come last."""
    pairs: dict[tuple[str, frozenset[str]], list[Verdict]] = {}
    for verdict in verdicts:
        pairs.setdefault((verdict.task, frozenset((verdict.better, verdict.worse))), []).append(verdict)
    in_order = sorted(pairs.items(), key=lambda item: IDENTITY in item[0][1])
    return [(_sentence(task, of_pair), IDENTITY in pair) for (task, pair), of_pair in in_order]


def cautions(sections: Sequence[Section], verdicts: Sequence[Verdict]) -> list[str]:
    """What a reader must know before believing the table."""
    found = []
    for section in sections:
        runs = [run for column in section.columns for run in column.runs]
        if any(run.manifest["data"].get("sample") for run in runs):
            found.append(
                f"{section.task}: the built-in sample, whose targets are drawn by filters. It judges no model."
            )
        unequal = {
            name: {column.label: column.runs[0].settings.get(name) for column in section.trained}
            for name in sorted({name for column in section.trained for name in column.runs[0].settings})
            if name.startswith(("data.", "trainer."))
        }
        found += [
            f"{section.task}: {name} differs: {', '.join(f'{value} for {label}' for label, value in values.items())}."
            for name, values in unequal.items()
            if len({repr(value) for value in values.values()}) > 1
        ]
        found += [
            f"{section.task}: the runs of {column.label} differ in {listing(column.pooled)}"
            + ("." if column.seeds_known else ", and not each has a seed of its own: what seeds change is unknown.")
            for column in section.trained
            if column.pooled
        ]
        if 2 / 2 ** len(section.names) * len(verdicts) >= LEVEL:
            few = f"{len(section.names)} test images are few for {len(verdicts)} comparisons"
            found.append(f"{section.task}: {few}; even where all of them agree, p may not fall below 0.05.")
    return found


def _sentence(task: str, verdicts: Sequence[Verdict]) -> str:
    groups: dict[tuple[str, str, str], list[Verdict]] = {}
    for verdict in verdicts:
        models = ("", "") if verdict.conclusion == MAYBE else (verdict.better, verdict.worse)
        groups.setdefault((verdict.conclusion, *models), []).append(verdict)
    parts: list[str] = []
    for (conclusion, better, worse), group in groups.items():
        metrics = listing([NAMES[verdict.measure] for verdict in group])
        lead = max(group, key=lambda verdict: verdict.measure == "psnr")
        if conclusion == MAYBE:
            pair = listing(sorted((lead.better, lead.worse)))
            said = f"there is no difference beyond chance in {metrics}{'' if parts else f' between {pair}'}"
        elif conclusion == DISAGREE:
            said = f"the mean of {metrics} favours {better} and the ranks of the differences {worse}"
        else:
            these = "" if conclusion == SURE else " on these images"
            said = f"{better} is better than {worse} by {metrics}{these}"
        said += f" ({_detail(lead)})"
        if conclusion == THESE_RUNS:
            one = "with one run of a model nobody knows whether another seed would say so too"
            spread = "the seeds spread so far that others may say otherwise"
            said += f", but {spread if lead.difference.seeds_known else one}"
        parts.append(said)
    return f"On {task}, {'; '.join(parts)}."


def listing(words: Sequence[str]) -> str:
    return " and ".join(", ".join(words).rsplit(", ", 1))


def _detail(verdict: Verdict) -> str:
    measure, d = verdict.measure, verdict.difference
    bounds = (d.low, d.high) if d.seeds_known else (d.image_low, d.image_high)
    ends = [show(measure, end, sign=True) if math.isfinite(end) else "unknown" for end in bounds]
    return (
        f"{NAMES[measure]} {show(measure, d.mean, sign=True)}{UNITS[measure]} for {verdict.better}, "
        f"95 % interval {ends[0]} to {ends[1]}; better on {verdict.better_on} of {d.images} images; "
        f"p {show_p(verdict.p)}"
    )


def show_p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"
