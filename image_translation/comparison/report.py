"""The page: everything a comparison found, in one file that needs no network."""

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import markupsafe

from image_translation import __version__
from image_translation.cli.pages import environment, render
from image_translation.comparison import images, plots
from image_translation.comparison.collect import Collection, variant
from image_translation.comparison.summary import Generalization, Throughput, ranking_survives
from image_translation.comparison.tables import MainTable
from image_translation.comparison.verdicts import Verdict, answers, cautions, sentences, show, show_p


def write_report(
    collection: Collection,
    table: MainTable,
    tables: Mapping[str, MainTable],
    caption: str,
    verdicts: Sequence[Verdict],
    generalization: Sequence[Generalization],
    costs: Sequence[Throughput],
    reference: Mapping[str, Any] | None,
    command: str,
) -> tuple[str, list[images.Problem]]:
    """The page as HTML, and what is wrong with the runs' images."""
    sections = collection.sections
    album = images.Album()
    galleries, problems = [], []
    for index, section in enumerate(sections):
        gallery, found = images.gather(section, index, len(sections), album)
        galleries.append(gallery)
        problems += found
    problems = images.one_line_each(problems)
    compared = [run for section in sections for column in section.trained for run in column.runs]
    problems += [(run.folder, note) for run in compared for note in run.notes]
    look = plots.looks(table.columns)
    cost_plot = plots.costs(costs, look)
    environment().globals |= {"show": show, "show_p": show_p}
    html = render(
        "report.html.j2",
        version=__version__,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        command=command,
        runs=[
            (column.label, run, variant(run, [run for other in section.trained for run in other.runs]))
            for section in sections for column in section.trained for run in column.runs
        ],
        sections=sections, galleries=galleries, excluded=collection.excluded, problems=problems,
        table=table, tables=tables, caption=caption, reference=reference,
        sentences=sentences(verdicts), verdicts=verdicts,
        generalization=generalization, costs=costs,
        survival=[
            ranking_survives(s, [row for row in generalization if row.task == s.task], verdicts) for s in sections
        ],
        answers=answers(sections, table.rows), cautions=cautions(sections, verdicts),
        interval_plots=[(_address(plots.intervals(verdicts, measure)), alt) for measure, alt in INTERVALS.items()],
        cost_plot=cost_plot and (_address(cost_plot), COST_PLOT),
        curves=[(s.task, _address(plots.curves(s, look)), f"Val PSNR and SSIM of {s.task}'s models against the step.")
                for s in sections if any(run.curves for column in s.trained for run in column.runs)],
        positions=[{shown.name: i for i, shown in enumerate(gallery.every)} for gallery in galleries],
        album=album.images,
        views=[_view(section.task, gallery) for section, gallery in zip(sections, galleries, strict=True)],
        size=images.THUMB, side=images.FULL,
    )  # fmt: skip
    return html, problems


COST_PLOT = "Test PSNR of every model against its training time, its operations and its size."
INTERVALS = {
    "psnr": "Differences in PSNR of every pair of models, with their 95 % intervals.",
    "ssim": "Differences in SSIM of every pair of models, with their 95 % intervals.",
}


def _address(svg: str) -> markupsafe.Markup:
    return markupsafe.Markup("data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode("ascii"))


def _view(task: str, gallery: images.Gallery) -> dict[str, Any]:
    """What the viewer needs to know of a section."""
    return {
        "task": task,
        "models": list(gallery.runs),
        "images": [
            {
                "name": shown.name,
                "parts": {"input": shown.input, "target": shown.target, **shown.outputs},
                "scores": {
                    label: f"{shown.psnr[label]:.2f} dB, SSIM {shown.ssim[label]:.3f}" for label in shown.outputs
                },
            }
            for shown in gallery.every
        ],
    }
