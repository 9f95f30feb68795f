"""Tables on the terminal."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from image_translation.cli.errors import command_line
from image_translation.cli.process import is_main_process
from image_translation.metrics.names import metrics_of, title


def console() -> Console:
    """The terminal; no terminal in a notebook, which would keep what moves a bar and colors words as text."""
    found = Console(force_terminal=False if "JPY_PARENT_PID" in os.environ else None)
    if not found.is_terminal:
        found.width = max(found.width, 160)
    return found


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], caption: str | None = None) -> None:
    """A table on the terminal; numbers are rounded to three decimals, or if they are small to three digits."""
    table = Table(title=None if caption is None else Text(caption))
    for column in columns:
        table.add_column(Text(column), justify="left" if column == columns[0] else "right", overflow="fold")
    for row in rows:
        cells = [rounded(cell) if isinstance(cell, float) else cell for cell in row]
        table.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in cells))
    console().print(table)


def rounded(number: float) -> str:
    return f"{number:.3g}" if 0 < abs(number) < 0.01 else f"{number:.3f}"


def per_second(count: int, seconds: float) -> str:
    """A rate in plain digits."""
    return f"{round(count / seconds, 1 if count > seconds else 3):g}"


def print_results(scores: Mapping[str, Mapping[str, float]], split: str, *folders: Path) -> None:
    """The metrics of each model, and where the images are."""
    if is_main_process():
        columns = {title(metric): metric for metric in metrics_of(next(iter(scores.values())))}
        columns |= {
            title(name).replace("/", "\n").replace(" →", "\n→"): name
            for name in next(iter(scores.values()))
            if "/" in name
        }
        rows = [[model, *(row.get(name, "") for name in columns.values())] for model, row in scores.items()]
        print_table([split, *columns], rows)
        folders = tuple(folder / "images" if (folder / "images").exists() else folder for folder in folders)
        print("Images:", " and ".join(str(folder) for folder in folders if folder.exists()))


def print_next_steps(run: Path, task: str) -> None:
    """What to do after a run on the built-in sample."""
    if not is_main_process():
        return
    print("Next, use this model on a photo of yours, train on your pairs, and compare runs:")
    print(" ", command_line("predict", run=run, input="photo.jpg", output="predicted"))
    print(" ", command_line("train", f"task={task}", "model=resunet", "data.root=path/to/pairs"))
    print(" ", command_line("compare"))
