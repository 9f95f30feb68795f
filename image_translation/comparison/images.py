"""The images on the page: which of them are shown, and their bytes."""

import io
import logging
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from image_translation.cli.pages import data_url
from image_translation.comparison.collect import TaskComparison
from image_translation.comparison.reading import FinishedRun
from image_translation.metrics.names import IDENTITY, leading, title

log = logging.getLogger(__name__)
FULL, THUMB, PANEL = 256, 96, 1024  # largest sides on the page, in pixels
QUALITY = {FULL: 88, THUMB: 75, PANEL: 88}
MOST_FULL, MOST_THUMBS = 900, 4000  # on the whole page: about 15 MB and 10 MB


@dataclass(frozen=True)
class Gallery:
    """What the page shows of a task.

    The images are in an album: ``<task>/<image>/<part>``, where task and image are numbers, and a part is ``input``,
    ``target`` or an experiment; and the panels ``<task>/before/<experiment>`` and ``<task>/after/<experiment>``.
    """

    runs: dict[str, FinishedRun]  # by experiment the run whose images are shown
    names: list[str]
    groups: list[tuple[str, str, list[str]]]  # title, rule and names
    glance: list[str]  # the images that the page opens with


def choose(runs: Mapping[str, FinishedRun], most: int) -> list[tuple[str, str, list[str]]]:
    """Groups of at most ``most`` test images that are worth a look: a title, the rule, and the names."""
    names = list(next(iter(runs.values())).scores)
    metric = leading(next(iter(runs.values())).metrics)
    quality = np.array([[run.scores[name][metric] for name in names] for run in runs.values()])
    what = title(metric)[:-2]
    rules = [(f"Worst of {label}", f"its lowest {what}", scores) for label, scores in zip(runs, quality, strict=True)]
    if len(runs) > 1:
        gaps = quality.min(axis=0) - quality.max(axis=0)
        rules.insert(0, ("Where the models differ most", f"the largest differences in {what}", gaps))
    groups = []
    for heading, rule, values in rules:
        first = [names[i] for i in np.argsort(values, kind="stable")[:most]]
        groups.append((heading, f"The {len(first)} test images with {rule}.", first))
    medians = dict.fromkeys(names[np.argmin(np.abs(scores - np.median(scores)))] for scores in quality)
    return [*groups, ("Typical", f"For each model the test image with its median {what}.", list(medians))]


def gather(task: TaskComparison, number: int, tasks: int, album: dict[str, str]) -> Gallery:
    """Choose the images of the task with this number, and put them into the album as data URLs."""
    # Runs of the color curve have images of their own; those of identity are the inputs.
    curve = [e for e in task.baselines if e.label == e.runs[0].model != IDENTITY]
    runs = {experiment.label: experiment.runs[0] for experiment in [*task.best, *curve] or task.experiments}
    groups = choose(runs, most=max(3, min(10, MOST_FULL // ((len(runs) + 2) ** 2 * tasks))))
    full = {name for *_, chosen in groups for name in chosen}
    thumbs = [name for name in task.names if name not in full][: MOST_THUMBS // tasks // (len(runs) + 2)]
    names = sorted(full.union(thumbs))

    parts = {label: (run, "images") for label, run in runs.items()}
    if source := next((run for run in [*task.runs, *task.identity.runs] if has_pairs(run)), None):
        parts |= {"input": (source, "inputs"), "target": (source, "targets")}
    files = {
        f"{number}/{i}/{part}": (run.places[name] / folder / f"{name}.png", FULL if name in full else THUMB)
        for i, name in enumerate(names) for part, (run, folder) in parts.items()
    }  # fmt: skip
    for label, run in runs.items():
        if panels := sorted((run.folder / "panels").glob("epoch_*.png")):
            files |= {f"{number}/before/{label}": (panels[0], PANEL), f"{number}/after/{label}": (panels[-1], PANEL)}
    with ThreadPoolExecutor() as pool:  # Pillow releases the GIL
        encoded = pool.map(encode, *zip(*files.values(), strict=True))
        album |= {key: image for key, image in zip(files, encoded, strict=True) if image}
    for folder, count in Counter(path.parent for key, (path, _) in files.items() if key not in album).items():
        log.warning("%s: %s images are missing or damaged.", folder, count)
    glance = list(dict.fromkeys(name for *_, chosen in groups[::-1] for name in chosen))[:3]  # typical ones first
    return Gallery(runs, names, groups, glance)


def has_pairs(run: FinishedRun) -> bool:
    """Whether a run has its test inputs and targets."""
    return all((place / "targets").is_dir() for place in set(run.places.values()))


def encode(path: Path, side: int) -> str | None:
    """An image as the data URL of a WebP file, at most ``side`` pixels wide and high; None if it can't be read."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            small = Image.new("RGB", image.size, "white")
            small.paste(image, mask=image if image.mode == "RGBA" else None)
    except (OSError, SyntaxError, ValueError):  # what Pillow raises for damaged files
        return None
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=QUALITY[side], method=4)
    return data_url("image/webp", buffer.getvalue())
