"""What a study found: a table of its trials, and two figures."""

from itertools import accumulate
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState

from image_translation.comparison.plots import COLORS, STYLE
from image_translation.runs.files import atomic_write, write_csv
from image_translation.tuning.trials import Search

ENOUGH = 5  # trials to say which option matters
STATUS = {"COMPLETE": "finished", "FAIL": "failed", "PRUNED": "pruned", "RUNNING": "running"}


@mpl.rc_context(STYLE)
def write_report(search: Search) -> list[dict[str, Any]]:
    """``trials.csv``, and ``tune.png``: the metric over the trials, and how much each option matters.

    Returns the rows of the table, the best first, those without a result last.
    """
    trials = {trial.number: trial for trial in search.study.trials if trial.state.name in STATUS}
    finished = {number: trial.value or 0 for number, trial in trials.items() if trial.state == TrialState.COMPLETE}
    higher = search.study.direction.name == "MAXIMIZE"
    ranked = sorted(finished, key=lambda number: finished[number], reverse=higher)
    rows = [
        {"trial": number, "status": STATUS[trial.state.name], **trial.params, search.metric: finished.get(number, "")}
        for number, trial in ({number: trials[number] for number in ranked} | trials).items()
    ]
    write_csv(search.folder / "trials.csv", rows, ["trial", "status", *search.space, search.metric])
    figure = Figure(figsize=(10, 3), dpi=120)
    history, importance = figure.subplots(1, 2)
    numbers, values = list(finished), list(finished.values())
    best = list(accumulate(values, max if higher else min))
    history.plot(numbers, values, "o", color=COLORS[0], label="a trial")
    history.plot(numbers, best, color=COLORS[1], drawstyle="steps-post", label="the best")
    history.legend()
    history.set(xlabel="trial", ylabel=search.metric)
    history.xaxis.get_major_locator().set_params(integer=True)
    if len(finished) >= ENOUGH and len(search.space) > 1:
        shares = dict(reversed(get_param_importances(search.study, evaluator=PedAnovaImportanceEvaluator()).items()))
        importance.barh([name.rpartition(".")[2] for name in shares], list(shares.values()), color=COLORS[0])
        importance.set(xlabel="share of the difference that it makes")
    else:
        importance.text(0.5, 0.5, f"importance: from {ENOUGH} finished trials\nof two options on", ha="center")
        importance.set_axis_off()
    with atomic_write(search.folder / "tune.png") as file:
        figure.savefig(file, format="png")
    return rows
