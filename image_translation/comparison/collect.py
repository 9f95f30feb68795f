"""Which runs there are, which of them may be compared, and why the others may not."""

import csv
import io
import math
import os
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from image_translation.errors import UserError, nearest
from image_translation.runs import MEASURES, WITHOUT_EFFECT, flat, is_alive, read_config, read_json, read_run

Scores = dict[str, dict[str, float]]  # by picture, then by measure
IDENTITY = "identity"

# Options that change what a test picture looks like; its content is in the fingerprint.
OF_A_PICTURE = ("data.layout", "data.direction", "data.derive", "data.image_size", "data.fit")
# Options in which repeats of one experiment may differ.
NOT_OF_A_MODEL = (
    *WITHOUT_EFFECT, "seed", "run", "evaluate", "protocol", "hydra", "data.root", "data.task",
    *(f"callbacks.{name}" for name in ("last", "metrics_csv", "panels", "results", "cost", "progress")),
    *(f"trainer.{name}" for name in ("accelerator", "strategy", "default_root_dir", "logger",
                                     "log_every_n_steps", "enable_", "profiler")),
)  # fmt: skip


@dataclass(frozen=True)
class FinishedRun:
    """A finished run with sound files."""

    folder: Path
    test: Path  # where its test results are
    manifest: dict[str, Any]
    options: dict[str, Any]
    scores: Scores
    identity: Scores
    means: dict[str, float]  # test measures, the study's as report/…, those of networks as perceptual/…
    train: dict[str, float] | None  # the same on the training pictures, if they were measured
    curves: list[dict[str, float]]
    notes: list[str]  # what is missing or damaged of it, short of its test results

    @property
    def task(self) -> str:
        return _printable(self.manifest["task"])

    @property
    def model(self) -> str:
        return _printable(self.manifest["model"])

    @property
    def seed(self) -> int:
        return int(self.manifest["seed"])

    @cached_property
    def condition(self) -> dict[str, Any]:
        """What must be equal for two runs' measures to be compared."""
        data = {
            name.removeprefix("data."): value for name, value in self.options.items() if name.startswith(OF_A_PICTURE)
        }
        return {
            "data fingerprint": self.manifest["data"]["fingerprint"][:12],
            "test pictures": f"{len(self.scores)} of {self.manifest['data']['counts']['test']}",
            **{name.replace("_", " "): value for name, value in sorted(data.items())},
            "names": hash(tuple(self.scores)),
        }

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The options that make it the experiment it is, whatever its seed."""
        return {name: value for name, value in self.options.items() if not name.startswith(NOT_OF_A_MODEL)}


@dataclass(frozen=True)
class Aside:
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
        """(runs, pictures), in the order of ``Section.names``; identity has one row."""
        tables = [run.identity if self.deterministic else run.scores for run in self.runs]
        rows = tables[:1] if self.deterministic else tables
        return np.array([[row[measure] for row in table.values()] for table in rows])

    def means(self, measure: str, split: str = "test") -> list[float]:
        """Each run's mean over the pictures of a split; empty where it was not measured."""
        name = f"{IDENTITY}/{measure}" if self.deterministic else measure
        tables = [run.train if split == "train" else run.means for run in self.runs]
        means = [table[name] for table in tables if table and name in table]
        return means[:1] if self.deterministic else means


@dataclass(frozen=True)
class Section:
    """A task: columns whose measures may stand side by side."""

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
    aside: list[Aside] = field(default_factory=list)


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
            collection.aside.append(Aside(folder, str(error)))
        except Exception as error:  # whatever a file holds, the other runs are compared
            collection.aside.append(Aside(folder, f"can't be read ({type(error).__name__}: {error})."))
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
        collection.aside += unfair
        columns, superseded = arrange(fair, by)
        collection.aside += superseded
        collection.sections.append(Section(task, columns, fair[0].condition))
    collection.aside.sort(key=lambda aside: str(aside.folder))
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


def read_finished(folder: Path) -> FinishedRun:
    """Read a run, and check that its files agree.

    Raises:
        UserError: it isn't finished, or a file is missing, damaged or edited; the text says which.
    """
    manifest = read_run(folder)
    if manifest["status"] != "finished":
        raise UserError(_unfinished(manifest))
    data = manifest.get("data")
    sound = (
        isinstance(data, dict)
        and isinstance(data.get("fingerprint"), str)
        and isinstance(data.get("counts"), dict)
        and type(data["counts"].get("test")) is int
        and type(manifest.get("seed")) is int
    )
    if not sound:
        raise UserError("run.json is damaged: data.fingerprint, data.counts.test and seed are expected in it.")
    options = flat(read_config(folder))
    if isinstance(options.get("seed"), int) and options["seed"] != manifest["seed"]:
        raise UserError(f"run.json says seed {manifest['seed']}, but the run's config {options['seed']}.")

    test, measured = folder / "test", folder / "evaluate"
    if not (test / "identity.csv").exists() and (measured / "test" / "identity.csv").exists():
        test = measured / "test"
    if (test / "per_image.csv").exists() and not (test / "identity.csv").exists():
        raise UserError(
            "test/identity.csv is missing, as in runs of version 0.1. "
            f"Measure this run again: python -m image_translation.evaluate run={folder}"
        )
    scores, identity, means = read_split(test)

    notes: list[str] = []
    train = _further(measured / "train", notes)
    again = _further(measured / "test", notes) if test != measured / "test" else None
    if again and not all(math.isclose(again[m], means[m], rel_tol=1e-3) for m in MEASURES):
        notes.append("evaluate/test is left out: its measures are not those of test.")
        again = None
    return FinishedRun(
        folder, test, manifest, options, scores, identity,
        means={name: value for name, value in (again or {}).items() if "/" in name} | means,
        train=train, curves=_curves(folder / "metrics.csv", manifest, notes), notes=notes,
    )  # fmt: skip


def read_split(place: Path) -> tuple[Scores, Scores, dict[str, float]]:
    """What ``Results`` left of a split: the scores of its pictures, those of its inputs, and the means.

    Raises:
        UserError: a file is missing, damaged or edited; the text says which.
    """
    scores, means = read_scores(place / "per_image.csv"), read_means(place / "metrics.json")
    identity = read_scores(place / "identity.csv")
    if list(identity) != list(scores):
        raise UserError(f"{place.name}/identity.csv is not of the pictures of {place.name}/per_image.csv.")
    for prefix, table in (("", scores), (f"{IDENTITY}/", identity)):
        for measure in MEASURES:
            mean = float(np.mean([row[measure] for row in table.values()]))
            stated = means.get(f"{prefix}{measure}", math.nan)
            if not math.isclose(mean, stated, rel_tol=1e-6, abs_tol=1e-6):
                name = f"{prefix or place.name + '/'}{measure}"
                raise UserError(
                    f"{place.name}/metrics.json says {name} = {stated}, but the mean of the pictures is {mean:.6g}: "
                    "one of the files was edited or damaged."
                )
    return scores, identity, means


def _further(place: Path, notes: list[str]) -> dict[str, float] | None:
    """The means of another evaluation, if there is a sound one."""
    if not place.exists():
        return None
    try:
        return read_split(place)[2]
    except UserError as error:
        notes.append(f"evaluate/{place.name} is left out: {error}")
        return None


def _curves(path: Path, manifest: dict[str, Any], notes: list[str]) -> list[dict[str, float]]:
    if not path.exists() and manifest.get("epochs"):
        notes.append("metrics.csv is missing, so there is no learning curve.")
    try:
        return read_curves(path)
    except UserError as error:
        notes.append(f"No learning curve: {error}")
        return []


def read_scores(path: Path) -> Scores:
    """The scores of every picture.

    Raises:
        UserError: the file is missing or damaged, or a PSNR is not its MSE's.
    """
    where = path.parent.name + "/" + path.name
    try:
        text = path.read_text(encoding="utf-8")
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        scores = {row["name"]: {m: float(row[m]) for m in MEASURES} for row in rows}
    except OSError as error:
        raise UserError(f"{where} is missing or can't be read ({error.strerror}).") from error
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise UserError(f"{where} is damaged: name, mse, psnr and ssim are expected in every row.") from error
    if not text.endswith("\n"):
        raise UserError(f"{where} is damaged: its end is missing.")
    if not scores or len(scores) != len(rows):
        raise UserError(f"{where} is damaged: {'a name stands in it twice' if rows else 'it has no picture'}.")
    for name, row in scores.items():
        if name != Path(name).name:
            raise UserError(f"{where} is damaged: {name!r} is not the name of a picture.")
        psnr = (
            100.0 if row["mse"] == 0 else 10 * math.log10(255**2 / row["mse"]) if 0 < row["mse"] <= 255**2 else math.nan
        )
        if not math.isclose(psnr, row["psnr"], rel_tol=1e-6) or not -1 <= row["ssim"] <= 1 + 1e-9:
            raise UserError(f"{where} was edited or damaged: the scores of {name!r} contradict each other.")
    return dict(sorted(scores.items()))


def read_means(path: Path) -> dict[str, float]:
    """``mse``, ``identity/psnr``, ``report/ssim`` … of a ``metrics.json``; the split's name is left out.

    Raises:
        UserError: the file is missing or damaged.
    """
    where = path.parent.name + "/" + path.name
    try:
        content = read_json(path)
        means = {name.removeprefix(f"{path.parent.name}/"): float(value) for name, value in content.items()}
    except (TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise UserError(f"{where} is damaged.") from error
    except OSError as error:
        raise UserError(f"{where} is missing or can't be read ({error.strerror}).") from error
    if not all(math.isfinite(means.get(measure, math.nan)) for measure in MEASURES):
        raise UserError(f"{where} is damaged: mse, psnr and ssim are expected in it.")
    return means


def read_curves(path: Path) -> list[dict[str, float]]:
    """The rows of ``metrics.csv``; none for a model that was not trained.

    Raises:
        UserError: the file is damaged.
    """
    if not path.exists():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
    except (OSError, TypeError, ValueError, csv.Error) as error:
        raise UserError("metrics.csv is damaged: numbers are expected in it.") from error
    if not all("epoch" in row and "step" in row for row in rows):
        raise UserError("metrics.csv is damaged: epoch and step are expected in every row.")
    return rows


def separate(runs: Sequence[FinishedRun]) -> tuple[list[FinishedRun], list[Aside]]:
    """The largest set of a task's runs that may be compared (of equal ones the latest), and the others with reasons."""
    sets: dict[str, list[FinishedRun]] = defaultdict(list)
    for run in runs:
        sets[repr(run.condition)].append(run)
    main = max(sets.values(), key=lambda members: (len(members), max(str(r.manifest.get("started")) for r in members)))
    aside = []
    for members in sets.values():
        if members is not main:
            differences = _differences(members[0].condition, main[0].condition)
            aside += [Aside(run.folder, f"cannot stand beside the other runs: {differences}", run) for run in members]
    # Whatever the options say, the same inputs and targets have the same distance.
    distance = statistics.median_low(run.means[f"{IDENTITY}/mse"] for run in main)
    fair = [run for run in main if math.isclose(run.means[f"{IDENTITY}/mse"], distance, rel_tol=1e-3, abs_tol=1e-3)]
    reason = "cannot stand beside the other runs: its inputs and targets are others, as the scores of identity show."
    aside += [Aside(run.folder, reason, run) for run in main if run not in fair]
    return fair, aside


def _differences(other: dict[str, Any], main: dict[str, Any]) -> str:
    changed = [name for name in main | other if main.get(name) != other.get(name)]
    said = [f"{name} {other.get(name)} instead of {main.get(name)}" for name in changed if name != "names"]
    return "; ".join(said or ["the test pictures have other names"]) + "."


def arrange(runs: Sequence[FinishedRun], by: Sequence[str]) -> tuple[list[Column], list[Aside]]:
    """Columns of repeats, identity last; of runs that are equal in all, seed included, the latest counts."""
    latest: dict[str, FinishedRun] = {}
    aside = []
    for run in sorted(runs, key=lambda run: str(run.manifest.get("started"))):
        key = repr((run.model, run.seed, sorted(run.settings.items(), key=str)))
        if run.model != IDENTITY and key in latest:
            reason = f"made again, with the same options and seed, in {run.folder}."
            aside.append(Aside(latest[key].folder, reason, latest[key]))
        alike = [other for other in latest.values() if run.model != IDENTITY and other.settings == run.settings]
        copied = next((other for other in alike if other.scores == run.scores), None)
        if copied and key not in latest:
            aside.append(Aside(run.folder, f"has the very scores of {copied.folder}: a copy, not another seed.", run))
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
    return [*columns, Column(IDENTITY, list(latest.values()), deterministic=True)], aside


def differing(runs: Sequence[FinishedRun]) -> list[str]:
    """The options of an experiment in which runs differ."""
    names = sorted({name for run in runs for name in run.settings})
    return [name for name in names if len({repr(run.settings.get(name)) for run in runs}) > 1]


def variant(run: FinishedRun, runs: Sequence[FinishedRun], by: Sequence[str] = ()) -> str:
    """In what a run differs from others of its task and model, in as few words as will do."""
    names = by or differing([other for other in runs if other.model == run.model])
    short = Counter(name.rpartition(".")[2] for name in names)
    return ", ".join(
        f"{last if short[last := name.rpartition('.')[2]] == 1 else name}={_printable(run.options.get(name))}"
        for name in names
    )


def _printable(value: object) -> str:
    """Text that any file and any terminal takes: lone surrogates and control characters are spelt out."""
    text = str(value).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _unfinished(manifest: dict[str, Any]) -> str:
    status = manifest["status"]
    if status == "running":
        return "still running." if is_alive(manifest) else "stopped without a word (it still says: running)."
    error = str(manifest.get("error") or "").splitlines()
    return f"{status}: {error[0]}" if error else f"{status}."
