"""Read a finished run: its options, the scores of its test images, and its learning curves."""

import csv
import io
import json
import logging
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from image_translation.cli.errors import UserError
from image_translation.metrics.names import METRICS
from image_translation.runs.config import WITHOUT_EFFECT, flatten_config
from image_translation.runs.folder import read_config, read_manifest

log = logging.getLogger(__name__)
T = TypeVar("T")
Scores = dict[str, dict[str, float]]  # by image, then by metric
IDENTITY = "identity"

# Options that change what a test image looks like. Its content is in the data's fingerprint.
IMAGE_OPTIONS = ("data.layout", "data.direction", "data.derive", "data.image_size", "data.resize")
# Options in which runs of one experiment may differ.
NOT_OF_THE_EXPERIMENT = (
    *WITHOUT_EFFECT, "seed", "run", "evaluate", "protocol", "hydra", "data.root", "data.task", "callbacks.last",
    "callbacks.training_metrics", "callbacks.panels", "callbacks.test_results", "callbacks.throughput",
    "callbacks.progress",
    "trainer.accelerator", "trainer.strategy", "trainer.default_root_dir", "trainer.logger",
    "trainer.log_every_n_steps", "trainer.enable_", "trainer.profiler",
)  # fmt: skip


@dataclass(frozen=True)
class FinishedRun:
    """A finished run whose test results can be read."""

    folder: Path
    test: Path  # the folder of its test results
    manifest: dict[str, Any]
    task: str
    model: str
    seed: int
    options: dict[str, Any]  # by their names on the command line
    settings: dict[str, Any]  # the options that define the experiment, whatever the seed
    condition: dict[str, Any]  # what must be equal for two runs to be compared
    scores: Scores
    identity: Scores  # of the unchanged inputs
    means: dict[str, float]  # psnr, identity/psnr, report/psnr, perceptual/fid …
    train: dict[str, float]  # the same over the training images, if they were evaluated
    curves: list[dict[str, float]]


def read_finished(folder: Path) -> FinishedRun:
    """Read a run.

    Raises:
        UserError: it is not finished, or a file is missing or damaged.
    """
    manifest = read_manifest(folder)
    if manifest["status"] != "finished":
        error = str(manifest.get("error") or "not finished").splitlines()
        raise UserError(f"{manifest['status']}: {error[0]}")
    options = flatten_config(read_config(folder))
    for name, recorded in (("trainer.precision", "precision"), ("data.batch_size", "batch_size")):
        if options.get(name) == "auto":  # each machine chooses another value
            options[name] = manifest.get(recorded, "auto")

    # A test writes metrics.json last, so where this file is, the others are complete.
    places = [p for p in ("test", "evaluate/test", "evaluate/train") if (folder / p / "metrics.json").exists()]
    if not places or places[0] == "evaluate/train":
        raise UserError(f"test/metrics.json is missing. Test it: python -m image_translation.evaluate run={folder}")
    splits = {place: read_split(folder / place) for place in places}
    scores, identity, means = splits[places[0]]
    further, train = (splits.get(place, ({}, {}, {}))[2] for place in ("evaluate/test", "evaluate/train"))
    if not all(math.isclose(further.get(metric, means[metric]), means[metric], rel_tol=1e-3) for metric in METRICS):
        log.warning("%s: evaluate/test is left out, because its metrics are not those of test.", folder)
        further = {}
    means = {name: value for name, value in further.items() if "/" in name} | means
    condition = {
        "data fingerprint": manifest["data"]["fingerprint"][:12],
        **{name: value for name, value in sorted(options.items()) if name.startswith(IMAGE_OPTIONS)},
        "test images": f"{len(scores)} of {manifest['data']['counts']['test']}",
        "checksum of the images' names": zlib.crc32("/".join(scores).encode()),
    }
    return FinishedRun(
        folder, folder / places[0], manifest, manifest["task"], manifest["model"], int(manifest["seed"]), options,
        {name: value for name, value in options.items() if not name.startswith(NOT_OF_THE_EXPERIMENT)},
        condition, scores, identity, means, train,
        curves=_read(folder / "metrics.csv", _parse_curves) if (folder / "metrics.csv").exists() else [],
    )  # fmt: skip


def read_split(folder: Path) -> tuple[Scores, Scores, dict[str, float]]:
    """What a test left: the scores of the images and of their unchanged inputs, and the means of all metrics."""
    scores, identity = _read(folder / "per_image.csv", _parse_scores), _read(folder / "identity.csv", _parse_scores)
    if list(identity) != list(scores):
        raise UserError(f"{folder.name}/identity.csv and {folder.name}/per_image.csv have different images.")
    means = _read(folder / "metrics.json", lambda text: {k: float(value) for k, value in json.loads(text).items()})
    for metric in METRICS:
        means[metric] = float(np.mean([row[metric] for row in scores.values()]))
        means[f"{IDENTITY}/{metric}"] = float(np.mean([row[metric] for row in identity.values()]))
    return scores, identity, means


def _read(path: Path, parse: Callable[[str], T]) -> T:
    """The content of a file; if it is missing or damaged, one message with its name."""
    try:
        return parse(path.read_text(encoding="utf-8"))
    except Exception as error:
        said = "missing" if isinstance(error, FileNotFoundError) else f"damaged ({type(error).__name__}: {error})"
        raise UserError(f"{path.parent.name}/{path.name} is {said}.") from error


def _parse_scores(text: str) -> Scores:
    scores = {row["name"]: {metric: float(row[metric]) for metric in METRICS} for row in _parse_csv(text)}
    return dict(sorted(scores.items()))


def _parse_curves(text: str) -> list[dict[str, float]]:
    """In each row the step, and the values that were logged."""
    rows = _parse_csv(text)
    return [{"step": float(row["step"])} | {name: float(v) for name, v in row.items() if v} for row in rows]


def _parse_csv(text: str) -> list[dict[str, str]]:
    if not text.endswith("\n"):
        raise ValueError("its end is missing")
    return list(csv.DictReader(io.StringIO(text, newline="")))
