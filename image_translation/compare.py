"""Compare finished runs: a table, statistics, images, and one page to send to a colleague.

python -m image_translation.compare runs=[multirun/study] reference=study
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from image_translation.cli.app import command, folder_of
from image_translation.cli.console import print_table
from image_translation.cli.errors import UserError, one_of
from image_translation.metrics.names import METRICS
from image_translation.runs.files import write_csv, write_json, write_text

log = logging.getLogger(__name__)
FILES = ("report.html", "table.md", "table.csv", "table.tex", "per_image.csv", "comparison.json")
DEFAULT_ROOTS = ("outputs", "multirun")


@command("compare")
def main(cfg: DictConfig) -> None:
    roots = [folder_of("runs", root) for root in _list(cfg.runs)]
    by = [str(option) for option in _list(cfg.by)]
    wandb = one_of("wandb", cfg.wandb, (True, False))
    reference: Any = OmegaConf.to_container(cfg.reference) if cfg.get("reference") else None
    missing = [root for root in roots if not root.is_dir()]
    if missing and roots != [Path(root) for root in DEFAULT_ROOTS]:
        raise UserError(f"runs={missing[0]}: there is no such folder. Name folders with runs: runs=[outputs,multirun]")
    folders = [root for root in roots if root not in missing]
    compare(folders, folder_of("output", cfg.output), by, reference, wandb)


def compare(
    roots: Sequence[Path],
    output: Path,
    by: Sequence[str] = (),
    reference: Mapping[str, Any] | None = None,
    wandb: bool = False,
) -> None:
    """Compare the runs under ``roots``, write the results to ``output``, and say the most important ones.

    Args:
        roots: folders with runs, at any depth.
        output: the folder of the results; what an earlier comparison left there is replaced.
        by: options that tell columns apart, see ``collect``.
        reference: figures printed elsewhere: ``name``, ``note`` and ``scores`` by task, model and measure.
        wandb: whether to log the table and the page to W&B, too.

    Raises:
        UserError: there is no finished run, or ``output`` holds somebody else's files of these names.
    """
    # Imported here, because --help must not wait for them.
    from image_translation.cli.pages import render
    from image_translation.comparison import summary
    from image_translation.comparison import verdicts as verdicts_of
    from image_translation.comparison.collect import collect
    from image_translation.comparison.report import write_report
    from image_translation.comparison.tables import MainTable, caption_of, per_image, tidy

    taken = [name for name in FILES if (output / name).exists()]
    if taken and "comparison.json" not in taken:
        raise UserError(f"{output} holds {taken[0]}, which is not of a comparison; name another folder: output=…")
    collection = collect(roots, by)
    if not collection.sections:
        listed = "".join(f"\n  - {excluded.folder}: {excluded.reason}" for excluded in collection.excluded)
        where = " and ".join(map(str, roots)) or " or ".join(DEFAULT_ROOTS)
        raise UserError(
            f"There is no finished run to compare in {where}"
            + (f", but these:{listed}" if listed else ". Train some, or name their folder: runs=[…]")
        )
    sections = collection.sections
    verdicts = verdicts_of.judge(sections)
    table = MainTable({section.task: verdicts_of.cells(section, verdicts) for section in sections})
    report_rows = summary.further_cells(sections, "report", METRICS)
    if reference:
        report_rows = summary.with_reference(report_rows, reference, [section.task for section in sections])
    tables = {
        "report": MainTable(report_rows),
        "perceptual": MainTable(summary.further_cells(sections, "perceptual", summary.PERCEPTUAL), summary.PERCEPTUAL),
    }
    generalization = [row for section in sections for row in summary.generalization(section)]
    costs = [summary.cost(section, column) for section in sections for column in section.trained]
    caption = caption_of(sections)

    html, problems = write_report(
        collection, table, tables, caption, verdicts, generalization, costs, reference,
        command=f"python -m image_translation.compare runs=[{','.join(map(str, roots))}] by=[{','.join(by)}]",
    )  # fmt: skip
    for folder, problem in problems:
        log.warning("%s: %s", folder, problem)
    output.mkdir(parents=True, exist_ok=True)
    # First, because by this file a folder is known as a comparison's.
    write_json(output / "comparison.json", {
        "runs": {section.task: {c.label: [str(run.folder) for run in c.runs] for c in section.trained}
                 for section in sections},
        "not_compared": {str(excluded.folder): excluded.reason for excluded in collection.excluded},
        "answers": verdicts_of.answers(sections, table.rows),
        "cautions": verdicts_of.cautions(sections, verdicts),
        "sentences": [sentence for sentence, _ in verdicts_of.sentences(verdicts)],
    })  # fmt: skip
    write_text(output / "report.html", html)
    write_text(output / "table.md", render("table.md.j2", table=table, caption=caption))
    write_text(output / "table.tex", render("table.tex.j2", table=table, caption=caption))
    write_csv(output / "table.csv", *tidy(sections))
    write_csv(output / "per_image.csv", *per_image(sections))
    if wandb:
        from image_translation.loggers.wandb import log_comparison

        log_comparison(output, FILES, tidy(sections)[0])
    _say(sections, table, verdicts, collection.excluded, output)


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, ListConfig) else [value]


def _say(sections: Sequence[Any], table: Any, verdicts: Sequence[Any], excluded: Sequence[Any], output: Path) -> None:
    from rich.text import Text

    from image_translation.comparison.verdicts import HEADINGS, answers, cautions, sentences

    rows = []
    for section in sections:
        for column in section.columns:
            cells = [table.rows[section.task][measure, column.label] for measure in METRICS]
            texts = [Text(str(cell), style="bold" if cell.best else "") for cell in cells]
            rows.append([section.task if column is section.columns[0] else "", column.label, *texts])
    print_table(["task", "model", *(HEADINGS[measure] for measure in METRICS)], rows)
    for line in answers(sections, table.rows):
        print(f"- {line}")
    for line in cautions(sections, verdicts):
        print(f"- Beware: {line}")
    print("In detail:")
    for sentence, _ in sentences(verdicts):
        print(f"- {sentence}")
    if excluded:
        print("Not compared:")
        for item in excluded:
            print(f"- {item.folder}: {item.reason}")
    print(f"Report: {output / 'report.html'}")


if __name__ == "__main__":
    main()
