"""One run: its files read, and checked against one another."""

import csv
import io
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from image_translation.cli.errors import UserError
from image_translation.metrics.names import METRICS
from image_translation.runs.config import WITHOUT_EFFECT, flatten_config
from image_translation.runs.files import read_json, read_text
from image_translation.runs.folder import read_config, read_manifest
from image_translation.runs.processes import is_alive

Scores = dict[str, dict[str, float]]  # by image, then by measure


IDENTITY = "identity"


# Options that change what a test image looks like; its content is in the fingerprint.
OF_A_IMAGE = ("data.layout", "data.direction", "data.derive", "data.image_size", "data.resize")


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
    means: dict[str, float]  # test metrics, the study's as report/…, those of networks as perceptual/…
    train: dict[str, float] | None  # the same on the training images, if they were measured
    curves: list[dict[str, float]]
    notes: list[str]  # what is missing or damaged of it, short of its test results

    @property
    def task(self) -> str:
        return printable(self.manifest["task"])

    @property
    def model(self) -> str:
        return printable(self.manifest["model"])

    @property
    def seed(self) -> int:
        return int(self.manifest["seed"])

    @cached_property
    def condition(self) -> dict[str, Any]:
        """What must be equal for two runs' metrics to be compared."""
        data = {
            name.removeprefix("data."): value for name, value in self.options.items() if name.startswith(OF_A_IMAGE)
        }
        return {
            "data fingerprint": self.manifest["data"]["fingerprint"][:12],
            "test images": f"{len(self.scores)} of {self.manifest['data']['counts']['test']}",
            **{name.replace("_", " "): value for name, value in sorted(data.items())},
            "names": hash(tuple(self.scores)),
        }

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The options that make it the experiment it is, whatever its seed."""
        return {name: value for name, value in self.options.items() if not name.startswith(NOT_OF_A_MODEL)}


def read_finished(folder: Path) -> FinishedRun:
    """Read a run, and check that its files agree.

    Raises:
        UserError: it isn't finished, or a file is missing, damaged or edited; the text says which.
    """
    manifest = read_manifest(folder)
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
    options = flatten_config(read_config(folder))
    if isinstance(options.get("seed"), int) and options["seed"] != manifest["seed"]:
        raise UserError(f"run.json says seed {manifest['seed']}, but the run's config {options['seed']}.")
    for name, fact in (("trainer.precision", "precision"), ("data.batch_size", "batch_size")):
        if options.get(name) == "auto":  # on one machine it means something else than on another
            options[name] = manifest.get(fact, "auto")

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
    if again and not all(math.isclose(again[m], means[m], rel_tol=1e-3) for m in METRICS):
        notes.append("evaluate/test is left out: its metrics are not those of test.")
        again = None
    return FinishedRun(
        folder, test, manifest, options, scores, identity,
        means={name: value for name, value in (again or {}).items() if "/" in name} | means,
        train=train, curves=_curves(folder / "metrics.csv", manifest, notes), notes=notes,
    )  # fmt: skip


def read_split(place: Path) -> tuple[Scores, Scores, dict[str, float]]:
    """What ``TestResultsWriter`` left of a split: the scores of its images, those of its inputs, and the means.

    Raises:
        UserError: a file is missing, damaged or edited; the text says which.
    """
    scores, means = read_scores(place / "per_image.csv"), read_means(place / "metrics.json")
    identity = read_scores(place / "identity.csv")
    if list(identity) != list(scores):
        raise UserError(f"{place.name}/identity.csv is not of the images of {place.name}/per_image.csv.")
    for prefix, table in (("", scores), (f"{IDENTITY}/", identity)):
        for measure in METRICS:
            mean = float(np.mean([row[measure] for row in table.values()]))
            stated = means.get(f"{prefix}{measure}", math.nan)
            if not math.isclose(mean, stated, rel_tol=1e-6, abs_tol=1e-6):
                name = f"{prefix or place.name + '/'}{measure}"
                raise UserError(
                    f"{place.name}/metrics.json says {name} = {stated}, but the mean of the images is {mean:.6g}: "
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
    """The scores of every image.

    Raises:
        UserError: the file is missing or damaged, or a PSNR is not its MSE's.
    """
    where = path.parent.name + "/" + path.name
    try:
        text = read_text(path)
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        scores = {row["name"]: {m: float(row[m]) for m in METRICS} for row in rows}
    except OSError as error:
        raise UserError(f"{where} is missing or can't be read ({error.strerror}).") from error
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise UserError(f"{where} is damaged: name, mse, psnr and ssim are expected in every row.") from error
    if not text.endswith("\n"):
        raise UserError(f"{where} is damaged: its end is missing.")
    if not scores or len(scores) != len(rows):
        raise UserError(f"{where} is damaged: {'a name stands in it twice' if rows else 'it has no image'}.")
    for name, row in scores.items():
        if name != Path(name).name:
            raise UserError(f"{where} is damaged: {name!r} is not the name of a image.")
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
    if not all(math.isfinite(means.get(measure, math.nan)) for measure in METRICS):
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
        reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
        rows = [{key: float(value) for key, value in row.items() if value} for row in reader]
    except (OSError, TypeError, ValueError, csv.Error) as error:
        raise UserError("metrics.csv is damaged: numbers are expected in it.") from error
    if not all("epoch" in row and "step" in row for row in rows):
        raise UserError("metrics.csv is damaged: epoch and step are expected in every row.")
    return rows


def printable(value: object) -> str:
    """Text that any file and any terminal takes: lone surrogates and control characters are spelt out."""
    text = str(value).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _unfinished(manifest: dict[str, Any]) -> str:
    status = manifest["status"]
    if status == "running":
        return "still running." if is_alive(manifest) else "interrupted without a word (its process is gone)."
    error = str(manifest.get("error") or "").splitlines()
    return f"{status}: {error[0]}" if error else f"{status}."
