"""One training run: its folder, its lock, and its manifest ``run.json``."""

import logging
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from image_translation import __version__
from image_translation.cli.errors import UserError, command_line
from image_translation.cli.process import RANKS, exit_status, is_main_process
from image_translation.cli.values import check_values
from image_translation.runs.card import write_card
from image_translation.runs.config import WITHOUT_EFFECT, differences, save_config
from image_translation.runs.files import file_lock, write_json, write_text
from image_translation.runs.folder import (
    CONFIG,
    LOG,
    MANIFEST,
    REASON,
    is_run_file,
    read_manifest,
    remove_outputs,
    remove_run,
    remove_start,
    saved_checkpoints,
)
from image_translation.runs.redact import redact
from image_translation.runs.resume import find_resume_checkpoint, resumed_config

log = logging.getLogger(__name__)
PACKAGES = ("torch", "torchvision", "pytorch-lightning", "torchmetrics", "hydra-core", "wandb")
KEPT = ("data", "wandb_id", "seed", "batch_size", "device", "precision", "wall_time_s")  # by a resumed run
ELSEWHERE = "Name another folder, with hydra.run.dir=… or, for a sweep, hydra.sweep.dir=…"


class Run:
    """One run and its folder. ``Run.open`` decides whether it is new, resumed, or skipped because it is finished.

    A new run writes its config and manifest at once, one that is started again when its data and options are sound, a
    resumed one when it has taken a step. Until then its folder is as it was; a new run that ends before its first step
    leaves none.

    Attributes: ``folder``; ``config``, of a resumed run its own; ``resume_from``, a checkpoint or None; ``earlier``,
    the manifest as it was, empty for a new run; ``skipped``; ``facts``, the manifest.
    """

    def __init__(
        self, config: DictConfig, overrides: list[str], folder: Path, earlier: dict[str, Any], is_new_log: bool
    ) -> None:
        self.config, self.overrides, self.folder, self.earlier = config, overrides, folder, earlier
        self.is_new_log = is_new_log
        self.skipped = earlier.get("status") == "finished" and config.resume is None
        self.resume_from = find_resume_checkpoint(folder, required=bool(config.resume)) if earlier else None
        self.begun = self.kept = self.discarded = False
        self.facts: dict[str, Any] = {
            "status": "running",
            "host": platform.node(),
            "process": os.getpid(),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "task": config.run.task,
            **({"init_from": config.init_from} if config.init_from else {}),
            "model": config.run.model,
            "git_commit": _git_commit(),
            "versions": {"image_translation": __version__, "python": platform.python_version()}
            | {name: version(name) for name in PACKAGES},
        }
        if self.resume_from:
            self.facts |= {key: earlier[key] for key in KEPT if key in earlier}
        self.start = time.perf_counter() - (earlier.get("wall_time_s", 0) if self.resume_from else 0)

    @classmethod
    @contextmanager
    def open(cls, cfg: DictConfig) -> Iterator["Run"]:
        """The run that a command's config asks for, locked against other processes.

        Raises:
            UserError: the folder holds another run, or files of somebody else, or another process works there.
        """
        folder = Path(cfg.run.dir)
        is_main, is_new_log = is_main_process(), not (folder / LOG).exists()
        with file_lock(folder) if is_main else nullcontext():
            try:
                check_values(cfg)
                if cfg.resume is not None:
                    config, overrides, earlier = resumed_config(folder)
                    config.resume = str(folder)
                else:
                    config, overrides = cfg, list(HydraConfig.get().overrides.task)
                    earlier = _earlier_run(folder, cfg) if is_main else _manifest_if_any(folder)
                run = cls(config, overrides, folder, earlier, is_new_log)
            except UserError:
                if is_main:
                    remove_start(folder, is_new_log)
                raise
            with run:
                yield run

    def require_same_data(self, description: dict[str, Any]) -> None:
        """Check that a resumed run has the images it had. Raises UserError if it has not."""
        was = (self.earlier.get("data") or description)["fingerprint"]
        if (self.resume_from or self.skipped) and was != description["fingerprint"]:
            advice = "Name the folder of the same images: data.root=…" if self.config.resume else ELSEWHERE
            raise UserError(
                f"{self.folder} holds a run on other images (fingerprint {was[:12]}, now "
                f"{description['fingerprint'][:12]}), and nothing is overwritten. {advice}"
            )

    def require_same_devices(self, count: int) -> None:
        """Check that a resumed run has as many devices as before, which share an epoch's images; UserError if not."""
        was = self.earlier.get("device", {}).get("count", count)
        if self.resume_from and was != count:
            raise UserError(f"{self.folder}: the run had {was} devices and can't be resumed with {count}. "
                            f"Set trainer.devices={was}.")  # fmt: skip

    def update(self, **facts: Any) -> None:
        """Add facts to the manifest."""
        self.facts |= facts
        if self.begun and is_main_process():
            write_json(self.folder / MANIFEST, redact(self.facts))

    def begin(self) -> None:
        """From here on the folder is this run's: write what it is, and forget what an earlier part was scored."""
        if self.begun:
            return
        self.begun = True
        if is_main_process():
            (self.folder / REASON).unlink(missing_ok=True)  # of an earlier part
            if self.earlier:
                remove_outputs(self.folder, only_results=self.resume_from is not None)
            save_config(self.folder, self.config, self.overrides)
        self.update()

    def keep(self) -> None:
        """A step was taken: whatever happens, the folder stays."""
        self.begin()
        self.kept = True

    def tell(self, error: Exception) -> None:
        """In a process other than the main one: note why it fails, for the main one, which fails of that.

        The manifest has it at once, because Lightning kills a main process that does not end within some seconds.
        """
        if not is_main_process():
            process = next(os.environ[name] for name in RANKS if os.environ.get(name, "0") != "0")
            reason = f"A process of this run failed, process {process}: {str(error) or repr(error)}"
            write_text(self.folder / REASON, reason)
            if manifest := _manifest_if_any(self.folder):
                write_json(self.folder / MANIFEST, manifest | {"status": "failed", "error": redact(reason)})

    def discard(self) -> None:
        """Leave nothing in the end."""
        self.discarded = True

    def __enter__(self) -> "Run":
        if self.earlier and not self.skipped and is_main_process():
            status = "killed" if self.earlier["status"] == "running" else self.earlier["status"]
            how = f"resumed from {self.resume_from.name}" if self.resume_from else "started again"
            log.info("%s: %s earlier, %s.", self.folder, status, how)
        if not self.earlier:
            self.begin()
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: Any) -> None:
        status = {0: "finished", 1: "failed"}.get(exit_status(error), "interrupted")
        reason, cause = self.folder / REASON, None
        if reason.exists() and is_main_process():
            if status == "failed" and not isinstance(error, UserError):
                cause = UserError(reason.read_text(encoding="utf-8"))
            reason.unlink()
        self._end(status, cause or error)
        if cause:
            raise cause from error

    def _end(self, status: str, error: BaseException | None) -> None:
        if self.discarded or (error and not self.kept and not self.earlier):
            if is_main_process():
                remove_run(self.folder, with_log=self.is_new_log)
            return
        if status == "interrupted" and is_main_process():
            log.info("Stopped. To resume: %s", command_line("train", resume=self.folder))
        if not self.begun:
            return
        facts: dict[str, Any] = {"status": status, "wall_time_s": round(time.perf_counter() - self.start, 1)}
        if status == "failed":
            facts["error"] = str(error) or repr(error)
        try:
            self.update(**facts)
            if status == "finished" and is_main_process():
                write_card(self.folder)
        except OSError as unwritten:
            if error is None:
                raise
            # What ended the run says more: a full disk. A run without a lock that is "running" was interrupted anyway.
            log.warning("%s can't be written: %s", self.folder / MANIFEST, unwritten.strerror)


def _earlier_run(folder: Path, cfg: DictConfig) -> dict[str, Any]:
    """The manifest of an earlier run of the same config, empty for a new folder; UserError if it is another run's."""
    if not any(is_run_file(path) for path in folder.glob("*")):
        return {}
    manifest = _manifest_if_any(folder)
    if cfg.if_exists == "refuse" or (not manifest and not (folder / CONFIG).exists()):
        raise UserError(f"{folder} is not empty, and nothing is overwritten. {ELSEWHERE}")
    if not manifest:  # killed in its first moment
        return {"status": "failed"}
    counts = manifest["status"] == "finished" or bool(saved_checkpoints(folder))  # else there is nothing to lose
    if counts and (changed := differences(folder, cfg, WITHOUT_EFFECT, HydraConfig.get().overrides.task)):
        lines = "".join(f"\n  - {line}" for line in changed[:20])
        raise UserError(f"{folder} holds a run with other options, and nothing is overwritten:{lines}\n{ELSEWHERE}")
    return manifest


def _manifest_if_any(folder: Path) -> dict[str, Any]:
    return read_manifest(folder) if (folder / MANIFEST).exists() else {}


def _git_commit() -> str | None:
    """The checkout's commit, with "-dirty" for uncommitted changes; None for an installed package."""
    if not (Path(__file__).parents[2] / ".git").exists():
        return None
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
