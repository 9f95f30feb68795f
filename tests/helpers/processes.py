"""Trainings in processes of their own, which tests stop and kill."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import PROJECT, Command, succeeded

from helpers.results import unlike


def start(folder: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    """A training, in its own process group; what it prints goes to ``<folder>.txt``."""
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
    place = [] if arguments[0].startswith("resume=") else [f"hydra.run.dir={folder}"]
    with folder.with_suffix(".txt").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "image_translation.train", *arguments, *place],
            cwd=folder.parent, env=environment, stdout=output, stderr=output, start_new_session=True,
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
    return str(json.loads((run / "run.json").read_text())["status"])


def epochs(run: Path) -> int:
    """How many rows ``metrics.csv`` has."""
    path = run / "metrics.csv"
    return len(path.read_text().splitlines()) - 1 if path.exists() else 0


def finish(command: Command, run: Path, *more: str) -> None:
    """Resume a run to its end."""
    succeeded(command("train", f"resume={run}", *more))
    assert status(run) == "finished"


def results_unlike(one: Path, other: Path) -> list[str]:
    """What differs between the files of two finished runs."""
    texts = ("test/per_image.csv", "test/metrics.json", "test/identity.csv")
    return unlike(one, other) + [name for name in texts if (one / name).read_bytes() != (other / name).read_bytes()]
