"""What a study found: a table of its trials, and two figures."""

from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState

from image_translation.comparison.plots import COLORS, STYLE
from image_translation.runs.files import atomic_write, write_csv
from image_translation.tuning.trials import Search

ENOUGH = 5  # trials to say which option matters


def rows_of(search: Search) -> tuple[list[str], list[list[Any]]]:
    """The columns and the rows of the trials' table, the best first, those without a result last."""
    columns = ["trial", "status", *search.space, search.metric]
    sign = -1 if search.study.direction.name == "MAXIMIZE" else 1
    trials = sorted(search.study.get_trials(deepcopy=False), key=lambda trial: (
        trial.state != TrialState.COMPLETE, sign * (trial.value or 0) if trial.state == TrialState.COMPLETE else 0,
        trial.number,
    ))  # fmt: skip
    status = {TrialState.COMPLETE: "finished", TrialState.FAIL: "failed"}
    return columns, [
        [trial.number, status.get(trial.state, trial.state.name.lower()),
         *(trial.params.get(option, "") for option in search.space),
         trial.value if trial.state == TrialState.COMPLETE else ""]
        for trial in trials if trial.state != TrialState.WAITING
    ]  # fmt: skip


@mpl.rc_context(STYLE)
def write_report(search: Search, columns: list[str], rows: list[list[Any]]) -> None:
    """``trials.csv``, and ``tune.png``: the metric over the trials, and how much each option matters."""
    write_csv(search.folder / "trials.csv", [dict(zip(columns, row, strict=True)) for row in rows], columns)
    finished = sorted((row[0], row[-1]) for row in rows if row[1] == "finished")
    figure = Figure(figsize=(10, 3), dpi=120)
    history, importance = figure.subplots(1, 2)
    if finished:
        pick = max if search.study.direction.name == "MAXIMIZE" else min
        best = [pick(value for _, value in finished[: i + 1]) for i in range(len(finished))]
        history.plot(*zip(*finished, strict=True), "o", color=COLORS[0], label="a trial")
        history.plot(
            [number for number, _ in finished], best, color=COLORS[1], drawstyle="steps-post", label="the best"
        )
        history.legend()
    history.set(xlabel="trial", ylabel=search.metric)
    if len(finished) >= ENOUGH and len(search.space) > 1:
        shares = get_param_importances(search.study, evaluator=PedAnovaImportanceEvaluator())
        names = [name.rpartition(".")[2] for name in reversed(shares)]
        importance.barh(names, list(reversed(shares.values())), color=COLORS[0])
        importance.set(xlabel="share of the difference that it makes")
    else:
        importance.text(0.5, 0.5, f"importance: from {ENOUGH} finished trials\nof two options on", ha="center")
        importance.set_axis_off()
    with atomic_write(search.folder / "tune.png") as file:
        figure.savefig(file, format="png")
