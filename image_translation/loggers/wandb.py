"""W&B without questions, and images for whichever loggers there are."""

import functools
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import requests
import wandb
from PIL import Image
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger

from image_translation.cli.process import is_main_process
from image_translation.loggers.wandb_log import WandbFile

log = logging.getLogger(__name__)
STEP = "trainer/global_step"
FLUSH_INTERVAL, PATIENCE = 0.1, 5.0  # seconds, of W&B's writing
BEST = {"val/mse": "min", "val/psnr": "max", "val/ssim": "max"}


def _not_yet_logged(metrics: Mapping[str, Any], step: int, earlier: Mapping[str, int]) -> dict[str, Any]:
    """What a logger has not had of a step.

    A run that goes on repeats the steps since its last state, and these may be logged already.

    Args:
        metrics: what is to be logged.
        step: its step.
        earlier: the last step of each name when the run was stopped.
    """
    new = {name: value for name, value in metrics.items() if step > earlier.get(name, -1)}
    if not new.keys() - {"epoch"}:
        return {}
    return new | {name: metrics[name] for name in ("epoch",) if name in metrics}


class ResumableTensorBoardLogger(TensorBoardLogger):
    """Logs nothing twice; what it had before stands in its own files.

    Args:
        options: those of TensorBoardLogger.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.earlier: dict[str, int] = {}
        if Path(self.log_dir).is_dir():
            from tensorboard.backend.event_processing import event_accumulator as files  # an extra of its own

            last_only = {files.SCALARS: 1, files.IMAGES: 1}
            events = files.EventAccumulator(self.log_dir, last_only).Reload()
            self.earlier = {tag: events.Scalars(tag)[-1].step for tag in events.Tags()[files.SCALARS]}
            self.earlier |= {tag: events.Images(tag)[-1].step for tag in events.Tags()[files.IMAGES]}

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        if step is not None:
            metrics = _not_yet_logged(metrics, step, self.earlier)
        super().log_metrics(dict(metrics), step)

    def log_image(self, name: str, image: Image.Image, step: int) -> None:
        if step > self.earlier.get(name, -1):
            self.experiment.add_image(name, np.asarray(image), step, dataformats="HWC")


class ResumableWandbLogger(WandbLogger):
    """Logs nothing twice; what it had before stands in its own files.

    Args:
        run: the W&B run.
        folder: where the files of its earlier parts are.
    """

    def __init__(self, run: wandb.Run, folder: Path) -> None:
        super().__init__(experiment=run)
        self.file = WandbFile(Path(run.settings.sync_file))
        self.logged, self.on_disk = 0, 0  # rows
        self.earlier: dict[str, int] = {}
        for path in sorted(folder.glob(f"*run-*/{self.file.path.name}")):
            if path != self.file.path:
                self._read_earlier(path)

    def _read_earlier(self, path: Path) -> None:
        try:
            for row in _rows(WandbFile(path)):
                self.earlier |= row
        except (OSError, ValueError) as error:
            log.warning("W&B: %s can't be read (%s), so some steps may be logged twice.", path, error)

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        new = dict(metrics) if step is None else _not_yet_logged(metrics, step, self.earlier)
        if new:
            super().log_metrics(new, step)
            self.logged += 1

    def flush(self) -> None:
        """Wait until W&B, which is a process of its own, has written what was logged."""
        deadline = time.monotonic() + PATIENCE
        with suppress(OSError, ValueError):
            while self.on_disk < self.logged and time.monotonic() < deadline:
                time.sleep(FLUSH_INTERVAL / 5)
                self.on_disk += sum(1 for _ in _rows(self.file))


def _rows(file: WandbFile) -> Iterator[dict[str, int]]:
    """Of each row that was logged its names, and with each the step."""
    for record in file.new_records():
        if record.WhichOneof("record_type") == "history":
            row = {(item.key or item.nested_key[0]): item.value_json for item in record.history.item}
            yield dict.fromkeys(row, int(row[STEP])) if STEP in row else {}


def flush(loggers: Iterable[Logger]) -> None:
    """Wait until what was logged can't be lost any more."""
    for logger in loggers:
        if isinstance(logger, ResumableWandbLogger):
            logger.flush()


def wandb_logger(save_dir: str, mode: str | None = None, **options: Any) -> WandbLogger:
    """A W&B logger that never asks or fails: online if the user is logged in and the server answers, else offline.

    Args:
        save_dir: where W&B keeps its files.
        mode: ``online`` or ``offline``, to choose yourself; so does the variable WANDB_MODE.
        options: further arguments of ``wandb.init``.
    """
    if not is_main_process():
        return WandbLogger()  # does nothing there
    mode = mode or os.environ.get("WANDB_MODE") or ("online" if _can_go_online() else "offline")
    # An offline run's images wait here for their upload: keep them in the run folder too, not in the user's home.
    os.environ["WANDB_DATA_DIR"] = str(Path(save_dir).absolute() / "wandb")
    settings = wandb.Settings(silent=True, console="off", init_timeout=30,
                              x_transaction_log_flush_interval=FLUSH_INTERVAL)  # fmt: skip
    start: Callable[..., wandb.Run] = functools.partial(wandb.init, dir=save_dir, settings=settings, **options)
    try:
        run = start(mode=mode)
    except wandb.Error as error:
        log.warning("W&B: going online failed (%s), so this run is logged offline.", error)
        run = start(mode="offline")
    run.define_metric(STEP)
    run.define_metric("*", step_metric=STEP, step_sync=True)
    for name, best in BEST.items():  # what the table of runs shows: the best value, not the last
        run.define_metric(name, step_metric=STEP, step_sync=True, summary=best)
    if run.settings.mode == "offline":
        log.info("W&B: offline. To upload this run: wandb sync %s", Path(run.dir).parent)
    return ResumableWandbLogger(run, Path(save_dir) / "wandb")


def _can_go_online() -> bool:
    url = wandb.setup().settings.base_url
    if not (os.environ.get("WANDB_API_KEY") or requests.utils.get_netrc_auth(url)):
        return False
    try:
        requests.head(url, timeout=5)  # any answer will do
    except requests.RequestException:
        log.warning("W&B: %s does not answer, so this run is logged offline.", url)
        return False
    return True


@contextmanager
def opened(makers: Iterable[Callable[[], Logger]]) -> Iterator[list[Logger]]:
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


def log_image(loggers: Sequence[Logger], name: str, image: Image.Image, step: int) -> None:
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(name, [image], step=step)
        elif isinstance(logger, ResumableTensorBoardLogger):
            logger.log_image(name, image, step)


def log_best(trainer: Trainer) -> None:
    """Log the score of the best checkpoint as one number, which a list of runs can be sorted by, and a sweep judge."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.monitor and callback.best_model_score is not None:
            for logger in trainer.loggers:
                logger.log_metrics({f"best/{callback.monitor}": float(callback.best_model_score)}, trainer.global_step)


def log_comparison(folder: Path, files: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Log a comparison to a W&B run of its own: the page, the table, and the files as an artifact."""
    logger = wandb_logger(str(folder), project="image_translation", name="comparison", job_type="compare")
    with opened([lambda: logger]):
        run = logger.experiment
        table = wandb.Table(columns=list(rows[0]), data=[list(row.values()) for row in rows])
        report = wandb.Html((folder / "report.html").read_text(encoding="utf-8"), inject=False)
        run.log({"comparison/table": table, "comparison/report": report})
        for row in rows:
            if row["split"] == "test" and "/" not in row["measure"]:
                run.summary[f"{row['task']}/{row['model']}/{row['measure']}"] = row["mean"]
        artifact = wandb.Artifact("comparison", type="comparison")
        for name in files:
            artifact.add_file(str(folder / name))
        run.log_artifact(artifact)


def log_rows(loggers: Sequence[Logger], name: str, rows: Sequence[dict[str, Any]], step: int) -> None:
    """Log a table with images in it, where a logger has tables."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            data = [[wandb.Image(v) if isinstance(v, Image.Image) else v for v in row.values()] for row in rows]
            logger.log_table(name, list(rows[0]), data, step=step)
