"""Read a finished run: its options, the scores of its test images, and its learning curves."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from image_translation.cli.errors import UserError, command_line
from image_translation.metrics.names import IDENTITY, MASK_METRICS, MEAN_TARGET, METRICS, metrics_of
from image_translation.runs.config import WITHOUT_EFFECT, flatten_config
from image_translation.runs.files import read_json
from image_translation.runs.folder import read_config, read_manifest

Scores = dict[str, dict[str, float]]  # by image, then by metric

# Options that change what a test image looks like. Its content is in the data's fingerprint.
KINDS = ("data.input", "data.target", "data.classes", "data.range")  # runs from before there were kinds have none
IMAGE_OPTIONS = ("data.layout", "data.direction", "data.derive", "data.image_size", "data.resize", *KINDS)
# Options in which runs of one experiment may differ.
NOT_OF_THE_EXPERIMENT = (
    *WITHOUT_EFFECT, "seed", "run", "evaluate", "protocol", "hydra", "data.root", "data.task", "callbacks.last",
    "callbacks.training_metrics", "callbacks.panels", "callbacks.perceptual", "callbacks.test_results",
    "callbacks.throughput", "callbacks.progress", "trainer.accelerator", "trainer.strategy", "trainer.default_root_dir",
    "trainer.logger", "trainer.log_every_n_steps", "trainer.enable_", "trainer.profiler",
)  # fmt: skip


@dataclass(frozen=True)
class FinishedRun:
    """A finished run whose test results can be read."""

    folder: Path
    places: dict[str, Path]  # by test image the folder of the test results that it is in
    manifest: dict[str, Any]
    task: str
    model: str
    seed: int
    options: dict[str, Any]  # by their names on the command line
    settings: dict[str, Any]  # the options that define the experiment, whatever the seed
    condition: dict[str, Any]  # what must be equal for two runs to be compared
    scores: Scores
    baselines: dict[str, Scores]  # of the same images
    means: dict[str, float]  # psnr, identity/psnr, color_curve/psnr, report/psnr, perceptual/fid …
    train: dict[str, float]  # the same over the training images, if they were evaluated
    curves: Scores  # by step

    @property
    def metrics(self) -> list[str]:
        """Those of each image."""
        return metrics_of(next(iter(self.scores.values())))


def read_finished(folder: Path) -> FinishedRun:
    """Read a run. Raises UserError if it is not finished or was not tested, and other errors for damaged files."""
    manifest = read_manifest(folder)
    if manifest["status"] != "finished":
        raise UserError(f"{manifest['status']}: {str(manifest.get('error') or 'not finished').splitlines()[0]}")
    options = flatten_config(read_config(folder))
    for name, recorded in (("trainer.precision", "precision"), ("data.batch_size", "batch_size")):
        if options.get(name) == "auto":  # each machine chooses another value
            options[name] = manifest.get(recorded, "auto")

    # A test writes metrics.json last, so where this file is, the others are complete.
    places = ("test", "evaluate/test", "evaluate/train")
    splits = {place: read_split(folder / place) for place in places if (folder / place / "metrics.json").exists()}
    test = next((place for place in places[:2] if place in splits), None)
    if test is None:
        raise UserError(f"test/metrics.json is missing. Test it: {command_line('evaluate', run=folder)}")
    scores, baselines, means = splits[test]
    if "evaluate/test" in splits:  # a later evaluation, with more metrics
        means = splits["evaluate/test"][2] | means
    # Whatever windows of images it was trained on, a model is tested on whole ones.
    whole = options.get("data.resize") == "random_crop"
    image_options = tuple(name for name in IMAGE_OPTIONS if not (whole and name == "data.image_size"))
    condition = {
        "data fingerprint": manifest["data"]["fingerprint"][:12],
        **{
            name: value
            for name, value in sorted(options.items())
            if name.startswith(image_options) and not (name in KINDS and value in (None, "rgb"))
        },
        "test images": f"{len(scores)} of {manifest['data']['counts']['test']}",
    }
    return FinishedRun(
        folder, dict.fromkeys(scores, folder / test), manifest, manifest["task"], manifest["model"],
        int(manifest["seed"]), options,
        {name: value for name, value in options.items() if not name.startswith(NOT_OF_THE_EXPERIMENT)},
        condition, scores, baselines, means,
        train=splits["evaluate/train"][2] if "evaluate/train" in splits else {},
        curves=read_csv(folder / "metrics.csv", "step") if (folder / "metrics.csv").exists() else {},
    )  # fmt: skip


def read_split(folder: Path) -> tuple[Scores, dict[str, Scores], dict[str, float]]:
    """What a test left: the scores of the images and those of the baselines, and the means of all metrics."""
    other = MEAN_TARGET if (folder / f"{MEAN_TARGET}.csv").exists() else IDENTITY
    there = ["per_image", *(["color_curve"] if (folder / "color_curve.csv").exists() else []), other]
    tables = {name: read_csv(folder / f"{name}.csv", "name") for name in there}
    metrics = MASK_METRICS if "miou" in next(iter(tables["per_image"].values())) else METRICS
    tables = {
        name: {image: {m: table[image][m] for m in metrics} for image in sorted(table)}
        for name, table in tables.items()
    }
    scores = tables.pop("per_image")
    means = read_json(folder / "metrics.json")
    for metric in metrics:
        means[metric] = float(np.mean([row[metric] for row in scores.values()]))
        for name, table in tables.items():
            means[f"{name}/{metric}"] = float(np.mean([row[metric] for row in table.values()]))
    return scores, tables, means


def read_csv(path: Path, key: str) -> Scores:
    """The numbers in each row, by what the row has in the column ``key``."""
    with path.open(encoding="utf-8", newline="") as file:
        return {
            row.pop(key): {name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)
        }
