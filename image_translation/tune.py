"""Search for the options that suit a task: many short trainings, of which the worst are stopped early.

python -m image_translation.tune task=comic model=resunet data.root=path/to/pairs trainer.max_steps=600 tune.trials=20
All options of train are options here too; tune.space says which of them to try.
"""

import logging
import shlex
import subprocess
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from image_translation.cli.app import command
from image_translation.cli.console import print_table
from image_translation.cli.errors import UserError, at_least, command_line, hydra_value
from image_translation.cli.values import check_values
from image_translation.runs.config import flatten_config

log = logging.getLogger(__name__)
RUNS_OWN = ("hydra.", "tune.", "tune=", "evaluate=", "optimized_metric=", "if_exists=", "debug=")  # no trial's options


@command("tune")
def main(cfg: DictConfig) -> float | None:
    check_values(cfg)
    at_least("tune.trials", cfg.tune.trials, 1, whole=True)
    try:
        from image_translation.tuning.report import write_report
        from image_translation.tuning.space import read_space
        from image_translation.tuning.trials import Search
    except ImportError as error:
        raise UserError(f"tune needs Optuna: pip install '.[tune]' ({error}).") from error

    words = HydraConfig.get().overrides.task
    options = [word for word in words if not word.lstrip("+~").startswith(RUNS_OWN)]
    if not any(word.startswith("logger") for word in options):
        options.append("logger=none")  # dozens of short runs are no use on a dashboard, unless one asks for them
    space = read_space(OmegaConf.to_container(cfg.tune.suggested if cfg.tune.space is None else cfg.tune.space))
    defaults = {**HydraConfig.get().runtime.choices, **flatten_config(cfg)}
    search = Search(Path(cfg.tune.folder), space, options, cfg.optimized_metric, defaults, cfg.tune.trials,
                    cfg.tune.prune, cfg.tune.storage, cfg.tune.seed)  # fmt: skip
    search.work()
    rows = write_report(search)
    columns = ["trial", "status", *space, search.metric]
    cells = [[row.get(column, "") for column in columns] for row in rows[:10]]
    print_table([column.rpartition(".")[2] for column in columns], cells, caption=str(search.folder))
    states = [row["status"] for row in rows]
    if running := states.count("running"):
        log.info("%d trials are still running elsewhere. If their workers were stopped, type it again.", running)
        return None
    if "finished" not in states:
        raise UserError(f"No trial finished. {search.folder}/*.txt have what they said.")
    best = search.study.best_trial
    quoted, run = map(shlex.quote, search.overrides(best)), search.folder_of(best)
    log.info("The best is trial %d:\n  %s", best.number, command_line("train", *quoted))
    if cfg.tune.test and not (run / "evaluate" / "test" / "metrics.json").exists():
        test = [sys.executable, "-m", "image_translation.evaluate", f"run={hydra_value(run)}"]
        if status := subprocess.run(test, check=False).returncode:
            raise SystemExit(status)
    return float(best.value or 0)


if __name__ == "__main__":
    main()
