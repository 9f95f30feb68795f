"""Which runs there are, which of them may be compared, and why the others may not."""

import math
import os
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from image_translation.cli.errors import UserError, nearest
from image_translation.comparison.reading import IDENTITY, FinishedRun, printable, read_finished


@dataclass(frozen=True)
class Excluded:
    """A run that is not compared."""

    folder: Path
    reason: str
    run: FinishedRun | None = None  # if it is whole, so that its own numbers can be shown


@dataclass(frozen=True)
class Column:
    """Repeats of one experiment: runs that differ in their seeds only (or in what ``by`` pools)."""

    label: str
    runs: list[FinishedRun]
    deterministic: bool = False  # identity: no seed changes it

    @property
    def pooled(self) -> list[str]:
        """Options in which the runs differ beside their seeds."""
        return [] if self.deterministic else differing(self.runs)

    @property
    def seeds_known(self) -> bool:
        """Whether the runs can say what another seed changes."""
        return self.deterministic or len({run.seed for run in self.runs}) == len(self.runs) > 1

    def scores(self, measure: str) -> NDArray[np.float64]:
        """(runs, images), in the order of ``Section.names``; identity has one row."""
        tables = [run.identity if self.deterministic else run.scores for run in self.runs]
        rows = tables[:1] if self.deterministic else tables
        return np.array([[row[measure] for row in table.values()] for table in rows])

    def means(self, measure: str, split: str = "test") -> list[float]:
        """Each run's mean over the images of a split; empty where it was not measured."""
        name = f"{IDENTITY}/{measure}" if self.deterministic else measure
        tables = [run.train if split == "train" else run.means for run in self.runs]
        means = [table[name] for table in tables if table and name in table]
        return means[:1] if self.deterministic else means


@dataclass(frozen=True)
class Section:
    """A task: columns whose metrics may stand side by side."""

    task: str
    columns: list[Column]  # identity last
    condition: dict[str, Any]

    @property
    def names(self) -> list[str]:
        return list(self.columns[0].runs[0].scores)

    @property
    def trained(self) -> list[Column]:
        return [column for column in self.columns if not column.deterministic]


@dataclass
class Collection:
    """All that was found."""

    sections: list[Section] = field(default_factory=list)
    excluded: list[Excluded] = field(default_factory=list)


def collect(roots: Sequence[Path], by: Sequence[str] = ()) -> Collection:
    """Find runs at any depth, and put together what may be compared.

    Args:
        roots: folders.
        by: options that make the columns beside the model, such as ``model.gan_loss``; runs that agree in them are
            taken as repeats. Without any, every option but the seed makes a column of its own.

    Raises:
        UserError: an option in ``by`` is in no run's config.
    """
    collection = Collection()
    runs: list[FinishedRun] = []
    for folder in find_runs(roots):
        try:
            runs.append(read_finished(folder))
        except UserError as error:
            collection.excluded.append(Excluded(folder, str(error)))
        except Exception as error:  # whatever a file holds, the other runs are compared
            collection.excluded.append(Excluded(folder, f"can't be read ({type(error).__name__}: {error})."))
    known = {name for run in runs for name in run.options}
    for name in by if runs else ():
        if name not in known:
            within = [option for option in sorted(known) if option.startswith(f"{name}.")][:5]
            hint = f" Options of {name}: {', '.join(within)} …" if within else nearest(name, known)
            raise UserError(f"by={name}: no run has such an option (a model is a column in any case).{hint}")

    by_task: dict[str, list[FinishedRun]] = defaultdict(list)
    for run in runs:
        by_task[run.task].append(run)
    for task in sorted(by_task):
        fair, unfair = separate(by_task[task])
        collection.excluded += unfair
        columns, superseded = arrange(fair, by)
        collection.excluded += superseded
        collection.sections.append(Section(task, columns, fair[0].condition))
    collection.excluded.sort(key=lambda excluded: str(excluded.folder))
    return collection


def find_runs(roots: Iterable[Path]) -> list[Path]:
    """Folders that are runs, or were: with a manifest or a config of Hydra's. Links are followed, each folder once.

    Raises:
        OSError: a folder can't be read.
    """
    found, seen = set(), set()

    def stop(error: OSError) -> None:
        raise error

    for root in roots:
        for place, folders, files in os.walk(root, followlinks=True, onerror=stop):
            if (real := os.path.realpath(place)) in seen:
                folders.clear()
                continue
            seen.add(real)
            has_config = ".hydra" in folders and (Path(place) / ".hydra" / "config.yaml").exists()
            if "run.json" in files or has_config:
                found.add(Path(place))
            if has_config:
                folders.clear()  # no run inside a run
            folders[:] = [name for name in folders if not name.startswith(".")]
    return sorted(found)


def separate(runs: Sequence[FinishedRun]) -> tuple[list[FinishedRun], list[Excluded]]:
    """The largest set of a task's runs that may be compared (of equal ones the latest), and the others with reasons."""
    sets: dict[str, list[FinishedRun]] = defaultdict(list)
    for run in runs:
        sets[repr(run.condition)].append(run)
    main = max(sets.values(), key=lambda members: (len(members), max(str(r.manifest.get("started")) for r in members)))
    excluded = []
    for members in sets.values():
        if members is not main:
            differences = _differences(members[0].condition, main[0].condition)
            excluded += [
                Excluded(run.folder, f"cannot stand beside the other runs: {differences}", run) for run in members
            ]
    # Whatever the options say, the same inputs and targets have the same distance.
    distance = statistics.median_low(run.means[f"{IDENTITY}/mse"] for run in main)
    fair = [run for run in main if math.isclose(run.means[f"{IDENTITY}/mse"], distance, rel_tol=1e-3, abs_tol=1e-3)]
    reason = "cannot stand beside the other runs: its inputs and targets are others, as the scores of identity show."
    excluded += [Excluded(run.folder, reason, run) for run in main if run not in fair]
    return fair, excluded


def _differences(other: dict[str, Any], main: dict[str, Any]) -> str:
    changed = [name for name in main | other if main.get(name) != other.get(name)]
    said = [f"{name} {other.get(name)} instead of {main.get(name)}" for name in changed if name != "names"]
    return "; ".join(said or ["the test images have other names"]) + "."


def arrange(runs: Sequence[FinishedRun], by: Sequence[str]) -> tuple[list[Column], list[Excluded]]:
    """Columns of repeats, identity last; of runs that are equal in all, seed included, the latest counts."""
    latest: dict[str, FinishedRun] = {}
    excluded = []
    for run in sorted(runs, key=lambda run: str(run.manifest.get("started"))):
        key = repr((run.model, run.seed, sorted(run.settings.items(), key=str)))
        if run.model != IDENTITY and key in latest:
            reason = f"made again, with the same options and seed, in {run.folder}."
            excluded.append(Excluded(latest[key].folder, reason, latest[key]))
        alike = [other for other in latest.values() if run.model != IDENTITY and other.settings == run.settings]
        copied = next((other for other in alike if other.scores == run.scores), None)
        if copied and key not in latest:
            excluded.append(
                Excluded(run.folder, f"has the very scores of {copied.folder}: a copy, not another seed.", run)
            )
            continue
        latest[key] = run

    groups: dict[tuple[str, str], list[FinishedRun]] = defaultdict(list)
    for run in latest.values():
        if run.model != IDENTITY:
            groups[run.model, variant(run, runs, by)].append(run)
    columns = [
        Column(f"{model} ({variant})" if variant else model, sorted(members, key=lambda run: run.seed))
        for (model, variant), members in sorted(groups.items())
    ]
    # Whatever run it is taken from, identity is the same: the condition has made sure.
    return [*columns, Column(IDENTITY, list(latest.values()), deterministic=True)], excluded


def differing(runs: Sequence[FinishedRun]) -> list[str]:
    """The options of an experiment in which runs differ."""
    names = sorted({name for run in runs for name in run.settings})
    return [name for name in names if len({repr(run.settings.get(name)) for run in runs}) > 1]


def variant(run: FinishedRun, runs: Sequence[FinishedRun], by: Sequence[str] = ()) -> str:
    """In what a run differs from others of its task and model, in as few words as will do."""
    names = by or differing([other for other in runs if other.model == run.model])
    short = Counter(name.rpartition(".")[2] for name in names)
    return ", ".join(
        f"{last if short[last := name.rpartition('.')[2]] == 1 else name}={printable(run.options.get(name))}"
        for name in names
    )
