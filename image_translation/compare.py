"""Compare finished runs: tables, statistics, and one page with images to send to a colleague.

python -m image_translation.compare runs=[multirun/study] reference=study
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from image_translation.cli.app import command, folder_of
from image_translation.cli.console import print_table
from image_translation.cli.errors import UserError, one_of
from image_translation.metrics.names import METRICS
from image_translation.runs.files import write_csv, write_json, write_text

FILES = ("report.html", "table.md", "table.csv", "table.tex", "per_image.csv", "comparison.json")
DEFAULT_RUNS = [Path("outputs"), Path("multirun")]


@command("compare")
def main(cfg: DictConfig) -> None:
    runs, group_by = ([*v] if isinstance(v, ListConfig) else [v] for v in (cfg.runs, cfg.group_by))
    folders = [folder_of("runs", folder) for folder in runs]
    missing = [folder for folder in folders if not folder.is_dir()]
    if missing and folders != DEFAULT_RUNS:
        raise UserError(f"runs={missing[0]}: there is no such folder. Name folders with runs: runs=[outputs,multirun]")
    reference: Any = OmegaConf.to_container(cfg.reference) if cfg.get("reference") else None
    wandb = one_of("wandb", cfg.wandb, (True, False))
    compare(folders, folder_of("output", cfg.output), list(map(str, group_by)), reference, wandb)


def compare(
    runs: Sequence[Path],
    output: Path,
    group_by: Sequence[str] = (),
    reference: Mapping[str, Any] | None = None,
    wandb: bool = False,
) -> None:
    """Compare the runs under some folders, write the results to ``output``, and print the most important ones.

    Args:
        runs: folders with runs, at any depth.
        output: the folder of the results; those of an earlier comparison are replaced.
        group_by: options that tell experiments apart, see ``collect``.
        reference: scores from elsewhere: ``name``, ``note`` and ``scores`` by task, model and metric.
        wandb: whether to log the table and the page to W&B, too.
    """
    # Imported here, because --help must not wait for them.
    from image_translation.cli.pages import render
    from image_translation.comparison.collect import collect
    from image_translation.comparison.report import render_report
    from image_translation.comparison.statistics import judge, winners
    from image_translation.comparison.tables import image_rows, mean_rows, score_table
    from image_translation.comparison.wording import summarize

    taken = [name for name in FILES if (output / name).exists()]
    if taken and "comparison.json" not in taken:
        raise UserError(f"{output} has a {taken[0]} that no comparison wrote; name another folder: output=…")
    tasks, excluded = collect(runs, group_by)
    if not tasks:
        found = "".join(f"\n  - {run.folder}: {run.reason}" for run in excluded)
        raise UserError(
            f"There is no finished run to compare in {' or '.join(map(str, runs))}. Found: {found or 'none'}"
        )

    verdicts = judge(tasks)
    best = winners(tasks, verdicts)
    table = score_table(tasks, winners=best)
    findings = summarize(tasks, verdicts, best)
    call = f"python -m image_translation.compare runs=[{','.join(map(str, runs))}] group_by=[{','.join(group_by)}]"
    values: dict[str, Any] = {"table": table, "excluded": excluded, "reference": reference, "command": call, **findings}
    page = render_report(tasks, verdicts, **values)
    means, images = mean_rows(tasks), image_rows(tasks)

    output.mkdir(parents=True, exist_ok=True)
    compared = {t.task: {e.label: [str(run.folder) for run in e.runs] for e in t.trained} for t in tasks}
    reasons = {str(run.folder): run.reason for run in excluded}
    # First, because this file marks the folder as a comparison's.
    write_json(output / "comparison.json", {"runs": compared, "not_compared": reasons, **findings})
    write_text(output / "report.html", page)
    for name in ("table.md", "table.tex"):
        write_text(output / name, render(f"{name}.j2", table=table, tasks=tasks))
    write_csv(output / "table.csv", means, list(means[0]))
    write_csv(output / "per_image.csv", images, list(images[0]))
    if wandb:
        from image_translation.loggers.wandb import log_comparison

        log_comparison(output, FILES, means)
    rows = [[task.task, e.label, *(table.cells[task.task, metric, e.label].text for metric in METRICS)]
            for task in tasks for e in task.experiments]  # fmt: skip
    print_table(["task", "model", *table.headings], rows)
    print(render("summary.txt.j2", report=output / "report.html", **values), end="")


if __name__ == "__main__":
    main()
