"""Jobs of a sweep that a launcher runs in other processes, or on other machines."""

import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from image_translation.cli.errors import UserError, hydra_value
from image_translation.cli.process import TERMINATED
from image_translation.runs.files import is_locked
from image_translation.runs.folder import MANIFEST, end_log, read_manifest

POLL = 2.0  # seconds between two looks at a job that another process does


def is_elsewhere(hydra: HydraConf) -> bool:
    """Whether this is a job of a sweep by another launcher than Hydra's own, which runs one after the other."""
    return bool(hydra.mode == RunMode.MULTIRUN and hydra.runtime.choices["hydra/launcher"] != "basic")


def run_job(hydra: HydraConf, command: str) -> Any:
    """Run a job as an ordinary command in a process of its own; what it prints is kept beside its folder, as ``.txt``.

    So signals, several devices and a process that is killed are as they are without a launcher. A job that is started
    again is resumed. Returns what a sweeper maximizes, NaN if it was killed.

    Raises:
        UserError: it failed or was stopped.
    """
    folder = Path(hydra.runtime.output_dir)
    output = folder.with_name(f"{folder.name}.txt")
    end_log()  # it is the command's
    if folder.is_dir() and is_locked(folder):  # it has outlived the sweep that started it
        print(f"job {hydra.job.num}: still at work in {folder}, waits for it", flush=True)
        while is_locked(folder):
            time.sleep(POLL)
    begin = output.stat().st_size if output.exists() else 0
    options = [word for word in hydra.overrides.task if not word.startswith("launcher=")]
    words = [*options, f"hydra.run.dir={hydra_value(folder)}", "hydra.mode=RUN", "if_exists=resume"]
    while (status := _wait(start_command(command, words, output))) == TERMINATED and "SUBMITIT_EXECUTOR" in os.environ:
        pass  # SLURM sends SIGTERM to all processes some time before it preempts a job: it has a checkpoint of then
    manifest = read_manifest(folder) if (folder / MANIFEST).exists() else {}  # a fast_dev_run has none
    if status < 0 and manifest.get("status") != "finished":  # killed, unless after its last word
        print(f"job {hydra.job.num}: killed by signal {-status}. The sweep, typed again, continues it.", flush=True)
        return math.nan
    if status > 0:
        reason = last_error(output, begin) or f"exit status {status}."
        raise UserError(f"job {hydra.job.num}: {reason} More in {output}.")
    found = manifest.get("optimized_metric")
    print(f"job {hydra.job.num}: finished, {found}", flush=True)
    return found


def start_command(command: str, words: Sequence[str], output: Path) -> "subprocess.Popen[bytes]":
    """Start a command with the configs of this one; what it prints is appended to a file."""
    here: Any = HydraConfig.get() if HydraConfig.initialized() else None
    sources = here.runtime.config_sources if here else ()
    own = [f"--config-dir={source.path}" for source in sources if source.provider == "command-line"]
    arguments = [sys.executable, "-m", f"image_translation.{command}", *own, *words]
    with output.open("ab") as file:
        return subprocess.Popen(arguments, stdout=file, stderr=subprocess.STDOUT, cwd=here and here.runtime.cwd)


def last_error(output: Path, begin: int = 0) -> str:
    """The last error in what a command has printed, from a place on; empty if there is none."""
    said = output.read_bytes()[begin:].decode(errors="replace").splitlines()
    return next((line.removeprefix("Error: ") for line in reversed(said) if line.startswith("Error: ")), "")


def _wait(process: "subprocess.Popen[bytes]") -> int:
    try:
        return process.wait()
    finally:  # by a signal to this process, too
        process.terminate()
        process.wait()
