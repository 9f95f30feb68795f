"""W&B without questions: online if the user is logged in, else offline."""

import functools
import logging
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import Logger, WandbLogger

from image_translation.cli.process import is_main_process
from image_translation.metrics.names import HIGHER_IS_BETTER

log = logging.getLogger(__name__)
STEP = "trainer/global_step"


def wandb_logger(save_dir: str, mode: str | None = None, **options: Any) -> WandbLogger:
    """A W&B logger that never asks or fails. A resumed run is continued there by its ``id``.

    ``mode`` is ``online`` or ``offline``; None for the variable WANDB_MODE, or else online if the user is logged in. If
    the server does not answer, the run is logged offline. ``options`` are further arguments of ``wandb.init``.
    """
    if not is_main_process():
        return WandbLogger()  # does nothing there
    import wandb  # it takes a second, and not every run has it

    server = wandb.setup().settings.base_url
    logged_in = os.environ.get("WANDB_API_KEY") or requests.utils.get_netrc_auth(server)
    mode = mode or os.environ.get("WANDB_MODE") or ("online" if logged_in else "offline")
    # An offline run's images wait here for their upload: keep them in the run folder too, not in the user's home.
    os.environ["WANDB_DATA_DIR"] = str(Path(save_dir).absolute() / "wandb")
    # W&B writes what it has every second, not every 15: a kill loses no more.
    settings = wandb.Settings(silent=True, console="off", init_timeout=15, x_transaction_log_flush_interval=1.0)
    start: Callable[..., Any] = functools.partial(wandb.init, dir=save_dir, settings=settings, **options)
    try:
        run = start(mode=mode)
    except wandb.Error as error:
        log.warning("W&B: going online failed (%s), so this run is logged offline.", error)
        run = start(mode="offline")
    run.define_metric(STEP)
    run.define_metric("*", step_metric=STEP, step_sync=True)
    for metric, higher in HIGHER_IS_BETTER.items():  # what the table of runs shows: the best value, not the last
        run.define_metric(f"val/{metric}", step_metric=STEP, step_sync=True, summary="max" if higher else "min")
    if run.settings.mode == "offline":
        log.info("W&B: offline. To upload this run: wandb sync %s", shlex.quote(str(Path(run.dir).parent)))
    return WandbLogger(experiment=run)


@contextmanager
def open_loggers(makers: Iterable[Callable[[], Logger]]) -> Iterator[list[Logger]]:
    """Loggers, whose W&B runs are closed at the end, and marked as failed after an error."""
    loggers: list[Logger] = []
    status = 1
    try:
        loggers += (make() for make in makers)
        yield loggers
        status = 0
    finally:
        for logger in loggers:
            if isinstance(logger, WandbLogger) and is_main_process():
                logger.experiment.finish(exit_code=status)


def wandb_id(loggers: Sequence[Logger]) -> str | None:
    """The id of the W&B run, if there is one."""
    return next((str(logger.version) for logger in loggers if isinstance(logger, WandbLogger)), None)


def log_best(trainer: Trainer) -> dict[str, float]:
    """Log the score of the best checkpoint as ``best/val/psnr``, and return it by the metric's name."""
    best = {}
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.monitor and callback.best_model_score is not None:
            best[callback.monitor] = float(callback.best_model_score)
            for logger in trainer.loggers:
                logger.log_metrics({f"best/{callback.monitor}": best[callback.monitor]}, trainer.global_step)
    return best


def log_comparison(folder: Path, files: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Log a comparison to a W&B run of its own: the page, the table, and the files as an artifact."""
    logger = wandb_logger(str(folder), project="image_translation", name="comparison", job_type="compare")
    import wandb

    with open_loggers([lambda: logger]):
        run = logger.experiment
        table = wandb.Table(columns=list(rows[0]), data=[list(row.values()) for row in rows])
        report = wandb.Html((folder / "report.html").read_text(encoding="utf-8"), inject=False)
        run.log({"comparison/table": table, "comparison/report": report})
        for row in rows:
            if row["split"] == "test" and "/" not in row["metric"]:
                run.summary[f"{row['task']}/{row['model']}/{row['metric']}"] = row["mean"]
        artifact = wandb.Artifact("comparison", type="comparison")
        for name in files:
            artifact.add_file(str(folder / name))
        run.log_artifact(artifact)
