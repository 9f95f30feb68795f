"""Trials of a study: each is an ordinary run, in a process of its own, and any of them may be killed."""

import csv
import logging
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from image_translation.cli.errors import UserError, hydra_value
from image_translation.cli.jobs import start_command
from image_translation.cli.process import INTERRUPTED, TERMINATED
from image_translation.metrics.names import HIGHER_IS_BETTER
from image_translation.runs.files import is_locked, write_json
from image_translation.runs.folder import MANIFEST, read_manifest
from image_translation.tuning.space import Space, holds

log = logging.getLogger(__name__)
OPTIONS, METRIC = "options", "metric"  # what a study says of itself
POLL = 1.0  # seconds between two looks at a training
PATIENCE = 1 / 3  # of the steps of a finished trial, before one is pruned: at first a high learning rate is behind


@dataclass
class Search:
    """A study of runs with the same options but those of a space.

    Attributes:
        folder: of the study and its trials; several workers, on several machines too, share it.
        options: overrides of ``train`` that all trials have.
        metric: what is searched for, such as ``val/psnr``.
        trials: how many there are in the end, by all workers.
        prune: whether trials stop that are behind the others.
    """

    study: optuna.Study
    folder: Path
    space: Space
    options: list[str]
    metric: str
    trials: int
    prune: bool

    def work(self) -> None:
        """Run trials until none is left that no other worker has begun."""
        while True:
            with self.claim() as trial:
                if trial is None:
                    return
                self.run(trial)

    @contextmanager
    def claim(self) -> Iterator[Trial | FrozenTrial | None]:
        """The next trial, locked: one whose worker was killed, or a new one."""
        lock: FileLock | None = None
        trial: Trial | FrozenTrial | None = None
        with FileLock(self.folder / "claim.lock"):
            known = self.study.get_trials(deepcopy=False)
            for old in known:
                if old.state == TrialState.RUNNING and (lock := self._lock(old)):
                    trial = old
                    break
            else:
                if sum(old.state != TrialState.WAITING for old in known) < self.trials:
                    trial = asked = self.study.ask(self.space)
                    lock = self._lock(asked)
        try:
            yield trial
        finally:
            if lock:
                lock.release()

    def _lock(self, trial: Trial | FrozenTrial) -> FileLock | None:
        """A trial's lock, if neither another worker has it nor a training that outlived its worker."""
        lock = FileLock(self.folder / f"{trial.number:04}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            return None
        if self.folder_of(trial).is_dir() and is_locked(self.folder_of(trial)):
            lock.release()
            return None
        return lock

    def folder_of(self, trial: Trial | FrozenTrial) -> Path:
        return self.folder / f"{trial.number:04}"

    def overrides(self, trial: Trial | FrozenTrial) -> list[str]:
        """Of ``train``, for what this trial tries."""
        return [*self.options, *(f"{option}={hydra_value(value)}" for option, value in trial.params.items())]

    def run(self, trial: Trial | FrozenTrial) -> None:
        """Train, or resume, watch, and tell the study how it ended."""
        run, number = self.folder_of(trial), trial.number
        log.info("Trial %d of %d: %s", number, self.trials, " ".join(self.overrides(trial)[len(self.options) :]))
        words = [f"hydra.run.dir={run}", "if_exists=resume", "evaluate=[]", f"optimized_metric={self.metric}"]
        process = start_command("train", [*self.overrides(trial), *words], run.with_suffix(".txt"))
        try:
            pruned = self._watch(process, trial)
        finally:
            process.terminate()  # by a signal to this worker: the trial is resumed later
            process.wait()
        manifest: dict[str, Any] = read_manifest(run) if (run / MANIFEST).exists() else {"status": "failed"}
        if pruned is not None:
            write_json(run / MANIFEST, manifest | {"pruned": pruned})
            self.study.tell(number, state=TrialState.PRUNED)
            log.info("  pruned at step %d: behind the median of the others", pruned)
        elif manifest["status"] == "finished" and manifest.get("optimized_metric") is not None:
            self.study.tell(number, manifest["optimized_metric"])
            log.info("  %s %.4f, best %.4f", self.metric, manifest["optimized_metric"], self.study.best_value)
        elif process.returncode in (INTERRUPTED, TERMINATED):  # stopped from outside: the trial stays open
            raise SystemExit(process.returncode)
        else:
            self.study.tell(number, state=TrialState.FAIL)
            log.warning("  failed: %s. %s has what it said.", manifest.get("error", "no run"), run.with_suffix(".txt"))

    def _watch(self, process: "subprocess.Popen[bytes]", trial: Trial | FrozenTrial) -> int | None:
        """Wait for a training; the step at which it is stopped, if it is pruned."""
        told, lengths = 0, [old.last_step or 0 for old in self.study.get_trials(states=[TrialState.COMPLETE])]
        while process.poll() is None:
            time.sleep(POLL)
            if not isinstance(trial, Trial):  # one that another worker began runs to its end
                continue
            for step, value in self._curve(trial)[told:]:
                told += 1
                trial.report(value, step)
                if self.prune and lengths and step >= PATIENCE * max(lengths) and trial.should_prune():
                    return step
        return None

    def _curve(self, trial: Trial) -> list[tuple[int, float]]:
        """The metric over the steps so far."""
        try:
            with (self.folder_of(trial) / "metrics.csv").open(newline="") as file:
                rows = list(csv.DictReader(file))
        except FileNotFoundError:
            return []
        return [(int(row["step"]), float(row[self.metric])) for row in rows if row.get(self.metric)]


def open_search(
    folder: Path, storage: str | None, space: Space, options: Sequence[str], defaults: dict[str, Any], metric: str,
    trials: int, prune: bool, seed: int,
) -> Search:  # fmt: skip
    """A new study, or the one that this or another worker began. The defaults are its first trial.

    ``storage`` is a database's address; without one, a journal in the folder. UserError for another study.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder.mkdir(parents=True, exist_ok=True)
    higher = HIGHER_IS_BETTER.get(metric.rpartition("/")[2], True)
    with FileLock(folder / "claim.lock"):
        study = optuna.create_study(
            study_name=str(folder) if storage else folder.name,
            storage=storage or JournalStorage(JournalFileBackend(str(folder / "journal.log"))),
            direction="maximize" if higher else "minimize", load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=4),
        )  # fmt: skip
        # Of equal seeds several workers would choose the same.
        study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials), constant_liar=True)
        about = {OPTIONS: sorted(options), METRIC: metric}
        if not study.user_attrs:
            for name, value in about.items():
                study.set_user_attr(name, value)
            if all(holds(distribution, defaults.get(name)) for name, distribution in space.items()):
                study.enqueue_trial({name: defaults[name] for name in space})
        for name, value in about.items():
            if (was := study.user_attrs[name]) != value:
                raise UserError(f"{folder} holds a study with other options ({name}: was {was}, now {value}). Name "
                                "another folder: tune.folder=…")  # fmt: skip
    return Search(study, folder, space, list(options), metric, trials, prune)
