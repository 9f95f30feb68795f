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
from image_translation.runs.panels import read_panel

log = logging.getLogger(__name__)
FULL, THUMB = 256, 96  # largest sides on the page, in pixels
QUALITY = {FULL: 88, THUMB: 75}
MOST_FULL, MOST_THUMBS = 900, 4000  # on the whole page: about 15 MB and 10 MB
UNREADABLE = (OSError, SyntaxError, ValueError)  # what Pillow raises for damaged files


@dataclass(frozen=True)
class Gallery:
    """What the page shows of a task.

    The images are in an album: ``<task>/<image>/<part>``, where task and image are numbers, and a part is ``input``,
    ``target`` or an experiment; and the panels' ``<task>/panel<row>/<part>``, with ``input``, ``target``,
    ``before/<experiment>`` and ``after/<experiment>``.
    """

    runs: dict[str, FinishedRun]  # by experiment the run whose images are shown
    names: list[str]
    groups: list[tuple[str, str, list[str]]]  # title, rule and names
    panel_rows: int


def choose(runs: Mapping[str, FinishedRun], most: int) -> list[tuple[str, str, list[str]]]:
    """Groups of at most ``most`` test images that are worth a look: a title, the rule, and the names."""
    names = list(next(iter(runs.values())).scores)
    psnr = np.array([[run.scores[name]["psnr"] for name in names] for run in runs.values()])
    rules = [(f"Worst of {label}", "its lowest PSNR", scores) for label, scores in zip(runs, psnr, strict=True)]
    if len(runs) > 1:
        gaps = psnr.min(axis=0) - psnr.max(axis=0)
        rules.insert(0, ("Where the models differ most", "the largest differences in PSNR", gaps))
    groups = []
    for title, rule, values in rules:
        first = [names[i] for i in np.argsort(values, kind="stable")[:most]]
        groups.append((title, f"The {len(first)} test images with {rule}.", first))
    medians = dict.fromkeys(names[np.argmin(np.abs(scores - np.median(scores)))] for scores in psnr)
    groups.append(("Typical", "For each model the test image with its median PSNR.", list(medians)))
    return groups


def gather(task: TaskComparison, number: int, tasks: int, album: dict[str, str]) -> Gallery:
    """Choose a task's images, and put them into the album as data URLs."""
    runs = {experiment.label: experiment.runs[0] for experiment in task.trained or task.experiments}
    groups = choose(runs, most=max(3, min(10, MOST_FULL // ((len(runs) + 2) ** 2 * tasks))))
    full = {name for *_, chosen in groups for name in chosen}
    thumbs = [name for name in task.names if name not in full][: MOST_THUMBS // tasks // (len(runs) + 2)]
    names = sorted(full.union(thumbs))

    folders = {label: run.test / "images" for label, run in runs.items()}
    every = [run for experiment in task.experiments for run in experiment.runs]
    if source := next((run for run in every if (run.test / "targets").is_dir()), None):
        folders |= {"input": source.test / "inputs", "target": source.test / "targets"}
    files = {f"{number}/{i}/{part}": folders[part] / f"{name}.png" for i, name in enumerate(names) for part in folders}
    with ThreadPoolExecutor() as pool:  # Pillow releases the GIL
        encoded = pool.map(lambda path: _encode_file(path, FULL if path.stem in full else THUMB), files.values())
        album |= {key: image for key, image in zip(files, encoded, strict=True) if image}
    for folder, count in Counter(path.parent for key, path in files.items() if key not in album).items():
        log.warning("%s: %s images are missing or damaged.", folder, count)
    rows = [_add_panels(run, label, f"{number}/panel", album) for label, run in runs.items()]
    return Gallery(runs, names, groups, max(rows))


def _add_panels(run: FinishedRun, label: str, place: str, album: dict[str, str]) -> int:
    """Add the first and the last panel of a run; returns how many rows they have, 0 if they can't be shown."""
    files = sorted((run.folder / "panels").glob("epoch_*.png"))
    try:
        before, after = read_panel(files[0]), read_panel(files[-1])
    except (IndexError, *UNREADABLE):
        log.warning("%s: panels/ is missing or damaged.", run.folder)
        return 0
    parts = {"input": before["input"], "target": before["target"], f"before/{label}": before["output"],
             f"after/{label}": after["output"]}  # fmt: skip
    album |= {f"{place}{row}/{part}": encode(image, FULL) for part in parts for row, image in enumerate(parts[part])}
    return len(before["input"])


def _encode_file(path: Path, side: int) -> str | None:
    try:
        with Image.open(path, formats=("PNG",)) as image:
            return encode(image, side)
    except UNREADABLE:
        return None


def encode(image: Image.Image, side: int) -> str:
    """An image as the data URL of a WebP file, at most ``side`` pixels wide and high."""
    small = image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=QUALITY[side], method=4)
    return data_url("image/webp", buffer.getvalue())
