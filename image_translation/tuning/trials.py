"""Trials of a study: each is an ordinary run, in a process of its own, and any of them may be killed."""

import logging
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from filelock import BaseFileLock, FileLock, Timeout
from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError

from image_translation.cli.errors import UserError, hydra_value
from image_translation.cli.jobs import last_error, start_command
from image_translation.cli.process import INTERRUPTED, TERMINATED
from image_translation.comparison.reading import read_csv
from image_translation.metrics.names import HIGHER_IS_BETTER
from image_translation.runs.files import is_locked, write_json
from image_translation.runs.folder import MANIFEST, METRICS_CSV, read_manifest

log = logging.getLogger(__name__)
POLL = 1.0  # seconds between two looks at a training
PATIENCE = 1 / 3  # of the steps of a finished trial, before one is pruned: at first a high learning rate is behind


@dataclass
class Search:
    """A study of runs with the same options but those of a space. A study that another worker began is continued.

    Attributes:
        folder: of the study and its trials; several workers, on several machines too, share it.
        space: what may be chosen, by option.
        options: overrides of ``train`` that all trials have.
        metric: what is searched for, such as ``val/psnr``.
        defaults: values of options; the first trial has them, if they are in the space.
        trials: how many there are in the end, by all workers.
        prune: whether trials stop that are behind the others.
        storage: a database's address; without one, a journal is in the folder.
        seed: of the choices.
    """

    folder: Path
    space: dict[str, BaseDistribution]
    options: list[str]
    metric: str
    defaults: dict[str, Any]
    trials: int
    prune: bool = True
    storage: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Open the study. UserError if it is one of other options."""
        self._killed: set[int] = set()  # trials whose training was
        self.folder.mkdir(parents=True, exist_ok=True)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        about = [*self.options, f"optimized_metric={self.metric}", *(f"{key}: {self.space[key]}" for key in self.space)]
        with FileLock(self.folder / "claim.lock"):
            try:
                self.study = optuna.create_study(
                    study_name=str(self.folder) if self.storage else "tune", load_if_exists=True,
                    storage=self.storage or JournalStorage(JournalFileBackend(str(self.folder / "journal.log"))),
                    direction="maximize" if HIGHER_IS_BETTER.get(self.metric.rpartition("/")[2], True) else "minimize",
                    pruner=optuna.pruners.MedianPruner(n_startup_trials=4),
                )  # fmt: skip
            except SQLAlchemyError as error:
                raise UserError(f"tune.storage={self.storage}: {error}") from error
            if others := {*about} ^ {*self.study.user_attrs.get("options", about)}:
                raise UserError(f"{self.folder} holds a study with other options ({', '.join(sorted(others))}). Name "
                                "another folder: tune.folder=…")  # fmt: skip
            if not self.study.trials:
                self.study.set_user_attr("options", about)
                first = {option: self.defaults.get(option) for option in self.space}
                try:
                    create_trial(value=0, params=first, distributions=self.space)
                    self.study.enqueue_trial(first)
                except ValueError:
                    log.warning("The defaults are not in tune.space, so no trial has them.")

    def work(self) -> None:
        """Run trials until none is left that no other worker has begun."""
        while claimed := self._claim():
            trial, lock = claimed
            try:
                self._run(trial)
            except (KeyboardInterrupt, SystemExit):
                log.info("Stopped. Typed again, the search continues with trial %d.", trial.number)
                raise
            finally:
                lock.release()

    def _claim(self) -> tuple[Trial | FrozenTrial, BaseFileLock] | None:
        """The next trial, locked: one that was begun but nobody is at work on, or a new one."""
        with FileLock(self.folder / "claim.lock"):
            begun = [trial for trial in self.study.trials if trial.state != TrialState.WAITING]
            for trial in begun:
                lock, run = self._lock(trial), self.folder_of(trial)
                with suppress(Timeout):  # another worker has it
                    if trial.state == TrialState.RUNNING and lock.acquire(timeout=0):
                        if not (run.is_dir() and is_locked(run)):  # by a training that has outlived its worker
                            return trial, lock
                        lock.release()
            if len(begun) >= self.trials:
                return None
            # Of equal seeds several workers would choose the same.
            self.study.sampler = optuna.samplers.TPESampler(seed=self.seed + len(begun), constant_liar=True)
            new = self.study.ask(self.space)
            return new, self._lock(new).acquire().lock

    def _lock(self, trial: Trial | FrozenTrial) -> FileLock:
        return FileLock(self.folder_of(trial).with_suffix(".lock"))

    def folder_of(self, trial: Trial | FrozenTrial) -> Path:
        return self.folder / f"{trial.number:04}"

    def overrides(self, trial: Trial | FrozenTrial) -> list[str]:
        """Of ``train``, for what this trial tries."""
        return [*self.options, *(f"{option}={hydra_value(value)}" for option, value in trial.params.items())]

    def _run(self, trial: Trial | FrozenTrial) -> None:
        """Train, or resume, watch, and tell the study how it ended."""
        run, number, output = self.folder_of(trial), trial.number, self.folder_of(trial).with_suffix(".txt")
        log.info("Trial %d of %d: %s", number, self.trials, " ".join(self.overrides(trial)[len(self.options) :]))
        words = [*self.overrides(trial), "if_exists=resume", "evaluate=[]", f"optimized_metric={self.metric}"]
        process = start_command("train", [*words, f"hydra.run.dir={hydra_value(run)}"], output)
        try:
            pruned = self._watch(process, trial)
        finally:
            process.terminate()  # by a signal to this worker: the trial is resumed later
            process.wait()
        manifest: dict[str, Any] = read_manifest(run) if (run / MANIFEST).exists() else {}
        if pruned is not None:
            write_json(run / MANIFEST, manifest | {"pruned": pruned})
            self.study.tell(number, state=TrialState.PRUNED)
            log.info("  pruned at step %d: behind the median of the others", pruned)
        elif manifest.get("status") == "finished" and manifest.get("optimized_metric") is not None:
            self.study.tell(number, manifest["optimized_metric"])
            log.info("  %s %.4f, best %.4f", self.metric, manifest["optimized_metric"], self.study.best_value)
        elif process.returncode in (INTERRUPTED, TERMINATED):  # stopped from outside: the trial stays open
            raise SystemExit(process.returncode)
        elif process.returncode < 0 and number not in self._killed:  # once more
            self._killed.add(number)
            log.warning("  its training was killed by signal %d, and is resumed", -process.returncode)
        else:
            self.study.tell(number, state=TrialState.FAIL)
            reason = f"{last_error(output) or f'exit status {process.returncode}.'} More in {output}."
            if number == 0 and not manifest:  # the first was refused, so the others would be
                raise UserError(f"trial {number}: {reason}")
            log.warning("  failed: %s", reason)

    def _watch(self, process: "subprocess.Popen[bytes]", trial: Trial | FrozenTrial) -> int | None:
        """Wait for a training; the step at which it is stopped, if it is pruned."""
        last = max((old.last_step or 0 for old in self.study.trials if old.state == TrialState.COMPLETE), default=0)
        table, told = self.folder_of(trial) / METRICS_CSV, 0
        while process.poll() is None:
            time.sleep(POLL)
            if not table.exists() or not isinstance(trial, Trial):  # one that another worker began runs to its end
                continue
            curve = {int(step): row[self.metric] for step, row in read_csv(table, "step").items() if self.metric in row}
            for step in list(curve)[told:]:
                trial.report(curve[step], step)
                if self.prune and PATIENCE * last <= step < last and trial.should_prune():
                    return step
            told = len(curve)
        return None
