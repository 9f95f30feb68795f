"""Trainings in processes of their own, which tests stop and kill."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import ENVIRONMENT, Command, read_csv, read_json, succeeded

from helpers.results import unlike


def start(folder: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    """A training, in its own process group; what it prints goes to ``<folder>.txt``."""
    place = [] if arguments[0].startswith("resume=") else [f"hydra.run.dir={folder}"]
    with folder.with_suffix(".txt").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "image_translation.train", *arguments, *place],
            cwd=folder.parent, env=os.environ | ENVIRONMENT, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip


def wait_for(process: "subprocess.Popen[bytes]", condition: Callable[[], Any], seconds: float = 180) -> bool:
    """Whether a condition came true before the process ended."""
    deadline = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None:
            return False
        assert time.monotonic() < deadline
        time.sleep(0.0005)
    return True


def kill(process: "subprocess.Popen[bytes]") -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(60)


def status(run: Path) -> str:
    return str(read_json(run / "run.json")["status"])


def epochs(run: Path) -> int:
    """How many rows ``metrics.csv`` has."""
    return len(read_csv(run / "metrics.csv")) if (run / "metrics.csv").exists() else 0


def finish(command: Command, run: Path, *more: str) -> None:
    """Resume a run to its end."""
    succeeded(command("train", f"resume={run}", *more))
    assert status(run) == "finished"


def results_unlike(one: Path, other: Path) -> list[str]:
    """What differs between the files of two finished runs."""
    texts = ("test/per_image.csv", "test/metrics.json", "test/identity.csv")
    return unlike(one, other) + [name for name in texts if (one / name).read_bytes() != (other / name).read_bytes()]
