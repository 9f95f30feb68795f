"""Which images the report shows, and their bytes."""

import base64
import io
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from image_translation.comparison.collect import Section
from image_translation.comparison.reading import FinishedRun
from image_translation.runs.panels import read_panel

FULL, THUMB = 256, 96  # largest sides in the report, in pixels
QUALITY = {FULL: 88, THUMB: 75}
MOST_FULL, MOST_THUMBS = 900, 4000  # in the whole report: some 15 MB and 10 MB
Problem = tuple[Path, str]


@dataclass(frozen=True)
class Shown:
    """One test image: its parts' keys in the album, and the scores of the runs shown."""

    name: str
    input: str | None
    target: str | None
    outputs: dict[str, str | None]  # by column
    psnr: dict[str, float]
    ssim: dict[str, float]


@dataclass(frozen=True)
class Group:
    """Test images chosen by a rule."""

    title: str
    explanation: str
    images: list[Shown]


@dataclass(frozen=True)
class PanelRow:
    """A val image that every panel shows: before any training and after the last epoch."""

    input: str
    target: str
    before: dict[str, str | None]
    after: dict[str, str | None]


@dataclass
class Gallery:
    """What the report shows of a section's images."""

    runs: dict[str, FinishedRun]  # the run whose images stand for a column
    panels: list[PanelRow]
    groups: list[Group]
    every: list[Shown]
    left_out: int  # images that ``every`` has no room for


@dataclass
class Album:
    """Every image once, by key, as a data address."""

    images: dict[str, str] = field(default_factory=dict)

    def add(self, key: str, image: Image.Image, side: int) -> None:
        small = image.convert("RGB")
        small.thumbnail((side, side), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        small.save(buffer, "WEBP", quality=QUALITY[side], method=4)
        self.images[key] = f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def choose(section: Section, sections: int) -> dict[str, tuple[str, list[str]]]:
    """Names of the images worth a look, by title, with the rule in words; fewer where there are many columns."""
    columns = section.trained or section.columns
    runs = {column.label: column.runs[0] for column in columns}
    most = max(3, min(10, MOST_FULL // ((len(columns) + 2) * (len(columns) + 2) * sections)))

    def psnr(label: str) -> Callable[[str], float]:
        return lambda name: runs[label].scores[name]["psnr"]

    def spread(name: str) -> float:
        values = [psnr(label)(name) for label in runs]
        return max(values) - min(values)

    names = section.names
    chosen: dict[str, tuple[str, list[str]]] = {}
    if len(runs) > 1:
        differing = sorted(names, key=spread, reverse=True)[:most]
        chosen["Where the models differ most"] = (
            f"The {len(differing)} test images with the widest gap in PSNR.",
            differing,
        )
    for label in runs:
        worst = sorted(names, key=psnr(label))[:most]
        chosen[f"Worst of {label}"] = (f"The {len(worst)} test images with its lowest PSNR.", worst)
    medians = []
    for label in runs:
        middle = statistics.median(map(psnr(label), names))
        nearest = min(names, key=lambda name: abs(psnr(label)(name) - middle))
        medians.append(nearest)
    explanation = "For each model the test image with its median PSNR: what to expect."
    chosen["Typical"] = (explanation, list(dict.fromkeys(medians)))
    return chosen


def gather(section: Section, index: int, sections: int, album: Album) -> tuple[Gallery, list[Problem]]:
    """Put a section's images in the album.

    Returns:
        What to show, and which images could not be: missing, damaged, or not the ones that were measured.
    """
    columns = section.trained or section.columns
    runs = {column.label: column.runs[0] for column in columns}
    chosen = choose(section, sections)
    full = {name for _, names in chosen.values() for name in names}
    room = MOST_THUMBS // sections // (len(columns) + 2)
    thumbs = [name for name in section.names if name not in full][:room]
    source = next((run for run in section.columns[-1].runs if (run.test / "targets").is_dir()), None)
    problems: list[Problem] = []

    def prepare(item: tuple[int, str]) -> tuple[Shown, list[Problem]]:
        number, name = item
        side = FULL if name in full else THUMB
        found: list[Problem] = []

        def put(kind: str, place: str, run: FinishedRun | None) -> tuple[str | None, Image.Image | None]:
            if run is None:
                return None, None
            path = run.test / place / f"{name}.png"
            try:
                with Image.open(path, formats=("PNG",)) as file:
                    image = file.convert("RGB")
            except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
                found.append((run.folder, f"{path.relative_to(run.folder)} is missing or damaged."))
                return None, None
            key = f"{index}/{number}/{kind}"
            album.add(key, image, side)
            return key, image

        input_key, _ = put("input", "inputs", source)
        target_key, target = put("target", "targets", source)
        outputs: dict[str, str | None] = {}
        for number_of_run, (label, run) in enumerate(runs.items()):
            outputs[label], output = put(f"output{number_of_run}", "images", run)
            if target and output and not _is_measured(output, target, run.scores[name]["mse"]):
                found.append((run.folder, f"test/images/{name}.png is not the image that was measured."))
        scores = {label: run.scores[name] for label, run in runs.items()}
        psnr, ssim = ({label: row[measure] for label, row in scores.items()} for measure in ("psnr", "ssim"))
        return Shown(name, input_key, target_key, outputs, psnr, ssim), found

    wanted = [name for name in section.names if name in full or name in set(thumbs)]
    with ThreadPoolExecutor() as pool:  # Pillow holds no lock while it decodes and encodes
        done = pool.map(prepare, enumerate(wanted))
        quiet = not Console().is_terminal
        prepared = list(track(done, "Images", total=len(wanted), transient=True, disable=quiet))
    shown = {image.name: image for image, _ in prepared}
    problems += [problem for _, found in prepared for problem in found]
    groups = [Group(title, text, [shown[name] for name in names]) for title, (text, names) in chosen.items()]
    panels, of_panels = _panels(runs, index, album)
    problems += of_panels
    return Gallery(runs, panels, groups, list(shown.values()), len(section.names) - len(shown)), problems


def _is_measured(output: Image.Image, target: Image.Image, mse: float) -> bool:
    if output.size != target.size:
        return False
    error = np.mean((np.asarray(output, dtype=np.float64) - np.asarray(target, dtype=np.float64)) ** 2)
    return bool(abs(error - mse) <= 1e-3 * max(1.0, mse))


def _panels(runs: dict[str, FinishedRun], index: int, album: Album) -> tuple[list[PanelRow], list[Problem]]:
    panels: dict[str, tuple[dict[str, list[Image.Image]], dict[str, list[Image.Image]]]] = {}
    problems: list[Problem] = []
    for label, run in runs.items():
        files = sorted((run.folder / "panels").glob("epoch_*.png"))
        try:
            if files:
                panels[label] = read_panel(files[0]), read_panel(files[-1])
            else:
                problems.append((run.folder, "panels/ has no panel."))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            problems.append((run.folder, "a image in panels/ is damaged."))
    if not panels:
        return [], problems
    first = next(iter(panels.values()))[0]
    others = [label for label, (before, _) in panels.items() if not _same(before["input"], first["input"])]
    problems += [(runs[label].folder, "panels/ shows other val images than the first column's.") for label in others]

    def put(kind: str, row: int, image: Image.Image) -> str:
        key = f"{index}/panel{row}/{kind}"
        album.add(key, image, FULL)
        return key

    def column_of(moment: int, row: int) -> dict[str, str | None]:
        return {
            label: put(f"{moment}/{place}", row, panels[label][moment]["output"][row])
            if label in panels and _same(panels[label][moment]["input"], first["input"])
            else None
            for place, label in enumerate(runs)
        }

    rows = [
        PanelRow(put("input", row, first["input"][row]), put("target", row, first["target"][row]),
                 column_of(0, row), column_of(1, row))
        for row in range(len(first["input"]))
    ]  # fmt: skip
    return rows, problems


def _same(some: Sequence[Image.Image], others: Sequence[Image.Image]) -> bool:
    """Whether two panels show the same images."""
    return [image.tobytes() for image in some] == [image.tobytes() for image in others]


def one_line_each(problems: Sequence[Problem]) -> list[Problem]:
    """One line for each folder: its first problem, and how many more there are."""
    by_folder: dict[Path, list[str]] = {}
    for folder, text in problems:
        by_folder.setdefault(folder, []).append(text)
    return [(f, texts[0] + (f" And {len(texts) - 1} more of its images." if len(texts) > 1 else ""))
            for f, texts in by_folder.items()]  # fmt: skip
