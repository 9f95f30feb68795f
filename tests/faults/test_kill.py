"""Runs that are killed go on, and end with the same files as one that was left in peace."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import PROJECT, TINY_PIX2PIX, Command, make_comic_root, succeeded
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_exact import unlike
from wandb_file import steps_logged

EPOCHS, STEPS = 10, 30
OPTIONS = (*TINY_PIX2PIX, f"trainer.max_epochs={EPOCHS}", "model.lr_decay_epochs=5", "checkpoint.every_n_steps=2")
LOGGED = ("logger=[wandb,tensorboard]", "trainer.log_every_n_steps=1")
TWO_DEVICES = ("trainer.strategy=ddp", "trainer.devices=2")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_comic_root(tmp_path_factory.mktemp("data") / "pairs")


def start(folder: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    """A training in processes of its own."""
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
    place = [] if arguments[0].startswith("resume=") else [f"hydra.run.dir={folder}"]
    with (folder.parent / f"{folder.name}.txt").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "image_translation.train", *arguments, *place],
            cwd=folder.parent, env=environment, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip


def wait_for(process: "subprocess.Popen[bytes]", condition: Callable[[], Any], seconds: float = 180) -> bool:
    """Whether something came true before the process ended."""
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


def go_on(command: Command, run: Path, *more: str) -> None:
    """Resume, or start again if there was not even a manifest."""
    succeeded(command("train", f"resume={run}", *more))
    assert status(run) == "finished"


def results_unlike(one: Path, other: Path) -> list[str]:
    texts = ("test/per_image.csv", "test/metrics.json", "test/identity.csv")
    return unlike(one, other) + [name for name in texts if (one / name).read_bytes() != (other / name).read_bytes()]


@pytest.fixture(scope="module")
def atomic_write(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed."""
    run = tmp_path_factory.mktemp("whole") / "run"
    process = start(run, *OPTIONS, *LOGGED, f"data.root={root}")
    assert process.wait(300) == 0, (run.parent / "run.txt").read_text()
    return run


def logged(run: Path) -> "list[Counter[tuple[str, int]]]":
    """How often each name was logged at each step, with W&B and with TensorBoard."""
    events = EventAccumulator(str(run / "tensorboard"), {"scalars": 0, "images": 0}).Reload()
    scalars = [(tag, event.step) for tag in events.Tags()["scalars"] if tag != "epoch" for event in events.Scalars(tag)]
    images = [(tag, event.step) for tag in events.Tags()["images"] for event in events.Images(tag)]
    return [steps_logged(run), Counter(scalars + images)]


def begun(run: Path) -> bool:
    return (run / "panels" / "epoch_0000.png").exists()


@pytest.mark.parametrize("attempt", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 14))])
def test_killed_at_a_random_moment(attempt: int, root: Path, whole: Path, command: Command, tmp_path: Path) -> None:
    run, chance = tmp_path / "run", random.Random(attempt)
    process = start(run, *OPTIONS, *LOGGED, f"data.root={root}")
    assert wait_for(process, lambda: begun(run))
    step = chance.randrange(STEPS)
    rows = step // (STEPS // EPOCHS)  # of metrics.csv
    wait_for(process, lambda: rows == 0 or _rows(run) >= rows)
    time.sleep(chance.random() * 0.3)  # somewhere in the epoch
    kill(process)
    if status(run) == "finished":
        pytest.skip("it was done before it could be killed")
    assert status(run) == "running"
    go_on(command, run)
    assert results_unlike(whole, run) == []
    assert logged(run) == logged(whole)  # no step is lost, none is there twice
    assert all(set(counts.values()) == {1} for counts in logged(run))


@pytest.mark.slow
def test_two_that_go_on_with_one_run(root: Path, whole: Path, tmp_path: Path) -> None:
    """One does, the other is told so."""
    run = tmp_path / "run"
    process = start(run, *OPTIONS, f"data.root={root}")
    assert wait_for(process, lambda: _rows(run) >= 2)
    kill(process)
    both = [start(tmp_path / name, f"resume={run}") for name in ("one", "two")]
    assert sorted(process.wait(300) for process in both) == [0, 1]
    said = "".join((tmp_path / f"{name}.txt").read_text() for name in ("one", "two"))
    reasons = ("another process is at work there", "this run is still going on", "this run is finished")
    assert any(reason in said for reason in reasons)
    assert results_unlike(whole, run) == []


def _rows(run: Path) -> int:
    try:
        return len((run / "metrics.csv").read_text().splitlines()) - 1
    except FileNotFoundError:
        return 0


@pytest.mark.parametrize("attempt", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 3, 5, 8, 11))])
def test_killed_while_it_writes_a_state(
    attempt: int, root: Path, whole: Path, command: Command, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    scratch, last = run / "checkpoints" / ".last.ckpt.tmp", run / "checkpoints" / "last.ckpt"
    process = start(run, *OPTIONS, f"data.root={root}")
    for _ in range(attempt):
        assert wait_for(process, scratch.exists)
        os.killpg(process.pid, signal.SIGSTOP)
        being_written = scratch.exists()
        if _ < attempt - 1 or not being_written:
            os.killpg(process.pid, signal.SIGCONT)
            wait_for(process, lambda: not scratch.exists())
    if not being_written:
        assert wait_for(process, scratch.exists)
    kill(process)
    assert last.exists() or attempt == 1  # the state before is there until the next is whole
    go_on(command, run)
    assert results_unlike(whole, run) == []


@pytest.mark.slow
def test_resume_last_takes_the_latest_that_was_stopped(
    root: Path, whole: Path, command: Command, tmp_path: Path
) -> None:
    cwd = tmp_path / "cwd"
    run = cwd / "outputs" / "comic" / "pix2pix" / "2026-01-01_00-00-00"
    run.parent.mkdir(parents=True)
    process = start(run, *OPTIONS, f"data.root={root}")
    assert wait_for(process, lambda: _rows(run) >= 2)
    os.killpg(process.pid, signal.SIGSTOP)
    refused = command("train", "resume=last")
    assert refused.returncode == 1
    assert "no run in outputs or multirun was stopped" in refused.stderr  # it is still going on
    kill(process)
    shown = command("compare")
    assert "interrupted" in shown.stdout + shown.stderr
    before = (run / "run.json").read_bytes()

    changed = command("train", "resume=last", "data.batch_size=1", "model=autoencoder", "seed=5")
    assert changed.returncode == 1
    for line in ("data.batch_size=1: it is 2", "model=autoencoder: it is pix2pix", "seed=5: it is 0"):
        assert line in changed.stderr
    assert (run / "run.json").read_bytes() == before

    moved = root.rename(root.with_name("moved"))
    try:
        assert "does not exist" in command("train", "resume=last").stderr
        assert (run / "run.json").read_bytes() == before
        (moved / "train" / "face" / "train0.png").rename(moved / "kept.png")
        (moved / "train" / "comics" / "train0.png").rename(moved / "kept2.png")
        other = command("train", "resume=last", f"data.root={moved}")
        (moved / "kept.png").rename(moved / "train" / "face" / "train0.png")
        (moved / "kept2.png").rename(moved / "train" / "comics" / "train0.png")
        assert other.returncode == 1
        assert "a run on other images (fingerprint " in other.stderr
        assert (run / "run.json").read_bytes() == before
        succeeded(command("train", "resume=last", "task=comic", "data.num_workers=1", f"data.root={moved}"))
    finally:
        moved.rename(root)
    assert results_unlike(whole, run) == []
    again = command("train", f"resume={run}")
    assert again.returncode == 1
    assert "this run is finished. To train it longer: trainer.max_epochs=" in again.stderr


@pytest.mark.slow
def test_a_finished_run_is_trained_longer(root: Path, command: Command, tmp_path: Path) -> None:
    """Ten epochs, or seven and then ten: the same."""
    options = (*OPTIONS[:-2], f"data.root={root}")
    one, two = tmp_path / "one", tmp_path / "two"
    succeeded(command("train", *options, f"hydra.run.dir={one}"))
    succeeded(command("train", *options, "trainer.max_epochs=7", f"hydra.run.dir={two}"))
    go_on(command, two, f"trainer.max_epochs={EPOCHS}")
    assert results_unlike(one, two) == []


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_one_of_two_processes_is_killed(rank: int, root: Path, command: Command, tmp_path: Path) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert start(whole, *OPTIONS, *TWO_DEVICES, f"data.root={root}").wait(300) == 0
    process = start(run, *OPTIONS, *TWO_DEVICES, f"data.root={root}")
    assert wait_for(process, lambda: _rows(run) >= 3)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    trainers = [int(c) for c in children if b"image_translation.train" in Path(f"/proc/{c}/cmdline").read_bytes()]
    os.kill(trainers[0] if rank else process.pid, signal.SIGKILL)
    process.wait(60)
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{child}").exists() for child in trainers):
        assert time.monotonic() < deadline, "the other process goes on"
        time.sleep(0.1)
    assert status(run) in ("failed", "running")
    go_on(command, run)
    assert results_unlike(whole, run) == []


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_two_processes_stop_at_the_same_batch(
    sent: signal.Signals, root: Path, command: Command, tmp_path: Path
) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert start(whole, *OPTIONS, *TWO_DEVICES, f"data.root={root}").wait(300) == 0
    process = start(run, *OPTIONS, *TWO_DEVICES, f"data.root={root}")
    assert wait_for(process, lambda: _rows(run) >= 3)
    os.kill(process.pid, sent)  # the first process alone
    assert process.wait(60) == (143 if sent == signal.SIGTERM else 130)
    assert status(run) == "interrupted"
    go_on(command, run)
    assert results_unlike(whole, run) == []
