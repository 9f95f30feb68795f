"""Compare finished runs: tables, statistics, and one page with images to send to a colleague.

python -m image_translation.compare runs=[multirun/study] reference=study
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from image_translation.cli.app import command, folder_of
from image_translation.cli.console import print_table
from image_translation.cli.errors import UserError, at_least, command_line
from image_translation.cli.values import check_values
from image_translation.metrics.names import BASELINES, FURTHER, SHARPNESS, metrics_of, title
from image_translation.runs.files import write_csv, write_json, write_text

FILES = ("report.html", "table.md", "table.csv", "table.tex", "per_image.csv", "comparison.json")
DEFAULT_RUNS = [Path("outputs"), Path("multirun")]


@command("compare")
def main(cfg: DictConfig) -> None:
    check_values(cfg)
    at_least("most", cfg.most, 1, whole=True)
    runs, group_by = ([*v] if isinstance(v, ListConfig) else [v] for v in (cfg.runs, cfg.group_by))
    folders = [folder_of("runs", folder) for folder in runs]
    missing = [folder for folder in folders if not folder.is_dir()]
    if missing and folders != DEFAULT_RUNS:
        raise UserError(f"runs={missing[0]}: there is no such folder. Name folders with runs: runs=[outputs,multirun]")
    reference: Any = OmegaConf.to_container(cfg.reference) if cfg.get("reference") else None
    compare(folders, folder_of("output", cfg.output), list(map(str, group_by)), reference, cfg.wandb, cfg.most)


def compare(
    runs: Sequence[Path],
    output: Path,
    group_by: Sequence[str] = (),
    reference: Mapping[str, Any] | None = None,
    wandb: bool = False,
    most: int = 16,
) -> None:
    """Compare the runs under some folders, write the results to ``output``, and print the most important ones.

    ``reference`` has scores from elsewhere: ``name``, ``note``, and ``scores`` by task, model and metric. The other
    arguments are those of ``conf/compare.yaml``.
    """
    # Imported here, because --help must not wait for them.
    from image_translation import __version__
    from image_translation.cli.pages import render, render_lines
    from image_translation.comparison import collect, images, plots, tables
    from image_translation.comparison.statistics import judge, winners

    taken = [name for name in FILES if (output / name).exists()]
    if taken and "comparison.json" not in taken:
        raise UserError(f"{output} has a {taken[0]} that no comparison wrote; name another folder: output=…")
    tasks, excluded = collect.collect(runs, group_by, most)
    if not tasks:
        found = "".join(f"\n  - {run.folder}: {run.reason}" for run in excluded) or "none"
        raise UserError(f"There is no finished run to compare in {' or '.join(map(str, runs))}. Found: {found}")

    album: dict[str, str] = {}
    galleries = [images.gather(task, number, len(tasks), album) for number, task in enumerate(tasks)]
    verdicts = judge(tasks)
    present = metrics_of({metric for task in tasks for metric in task.metrics})
    values: dict[str, Any] = {
        "tasks": tasks, "excluded": excluded, "verdicts": verdicts, "winners": winners(tasks, verdicts),
        "headings": {metric: title(metric) for metric in present}, "further": FURTHER, "reference": reference,
        "command": command_line("compare", runs=runs, group_by=group_by), "group_by": group_by, "baselines": BASELINES,
        "version": __version__, "output": output, "made": f"{datetime.now(UTC):%Y-%m-%d %H:%M UTC}",
        "collect": collect, "tables": tables, "plots": plots, "images": images, "album": album, "galleries": galleries,
    }  # fmt: skip
    findings = {
        "answers": render_lines("answers.txt.j2", **values), "cautions": render_lines("cautions.txt.j2", **values),
        "between_models": render_lines("pairs.txt.j2", **values, with_baselines=False),
        "against_baselines": render_lines("pairs.txt.j2", **values, with_baselines=True),
    }  # fmt: skip
    values |= findings
    output.mkdir(parents=True, exist_ok=True)
    compared = {t.task: {e.label: [str(run.folder) for run in e.runs] for e in t.trained} for t in tasks}
    reasons = {str(run.folder): run.reason for run in excluded}
    # First, because this file marks the folder as a comparison's.
    write_json(output / "comparison.json", {"runs": compared, "not_compared": reasons, **findings})
    for name in ("report.html", "table.md", "table.tex"):
        write_text(output / name, render(f"{name}.j2", **values))
    means, image_scores = tables.mean_rows(tasks), tables.image_rows(tasks)
    write_csv(output / "table.csv", means, list(means[0]))
    write_csv(output / "per_image.csv", image_scores, list(image_scores[0]))
    if wandb:
        from image_translation.loggers.wandb import log_comparison

        log_comparison(output, FILES, means)
    every = [(task, experiment.label) for task in tasks for experiment in task.experiments]
    cells = {m: [tables.show_mean(task, label, m) for task, label in every] for m in (*present, SHARPNESS)}
    cells = {metric: column for metric, column in cells.items() if set(column) != {"—"}}  # masks have no sharpness
    rows = [[task.task, label, *row] for (task, label), *row in zip(every, *cells.values(), strict=True)]
    print_table(["task", "model", *map(title, cells)], rows)
    print(render("summary.txt.j2", **values), end="")


if __name__ == "__main__":
    main()
