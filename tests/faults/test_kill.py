"""A run that is killed and resumed ends with the same files as one that was not."""

import os
import random
import signal
import time
from pathlib import Path

import pytest
from conftest import TINY_PIX2PIX, Command, make_comic_root, train
from helpers.processes import epochs, finish, kill, results_unlike, start, status, wait_for

EPOCHS = 6  # of three steps
OPTIONS = (*TINY_PIX2PIX, f"trainer.max_epochs={EPOCHS}", "model/scheduler=linear", "model.scheduler.decay_epochs=3",
           "checkpoint.every_n_steps=2")  # fmt: skip
TWO_DEVICES = ("trainer.strategy=ddp", "trainer.devices=2")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_comic_root(tmp_path_factory.mktemp("data") / "pairs")


@pytest.fixture(scope="module")
def whole(root: Path) -> Path:
    train(root.parent, *OPTIONS, f"data.root={root}", "hydra.run.dir=whole")
    return root.parent / "whole"


@pytest.fixture(scope="module")
def whole_of_two(root: Path) -> Path:
    train(root.parent, *OPTIONS, *TWO_DEVICES, f"data.root={root}", "hydra.run.dir=two")
    return root.parent / "two"


@pytest.mark.parametrize("attempt", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 6))])
def test_killed_at_a_random_moment(attempt: int, root: Path, whole: Path, command: Command, tmp_path: Path) -> None:
    run, chance = tmp_path / "run", random.Random(attempt)
    process = start(run, *OPTIONS, f"data.root={root}")
    assert wait_for(process, (run / "panels" / "epoch_0000.png").exists)
    ended = chance.randrange(EPOCHS)
    wait_for(process, lambda: epochs(run) >= ended)
    time.sleep(chance.random() * 0.1)  # somewhere in the epoch
    kill(process)
    if status(run) == "finished":
        pytest.skip("it ended before it could be killed")
    assert status(run) == "running"
    finish(command, run)
    assert results_unlike(whole, run) == []


@pytest.mark.parametrize("attempt", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 8))])
def test_killed_while_it_writes_a_checkpoint(
    attempt: int, root: Path, whole: Path, command: Command, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    scratch, last = run / "checkpoints" / ".last.ckpt.tmp", run / "checkpoints" / "last.ckpt"
    process, seen = start(run, *OPTIONS, f"data.root={root}"), 0
    while seen < attempt:
        assert wait_for(process, scratch.exists)
        os.killpg(process.pid, signal.SIGSTOP)
        seen += scratch.exists()
        if seen < attempt:
            os.killpg(process.pid, signal.SIGCONT)
            wait_for(process, lambda: not scratch.exists())
    kill(process)
    assert last.exists() or attempt == 1  # the one before is there until the next is complete
    finish(command, run)
    assert results_unlike(whole, run) == []


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_one_of_two_processes_is_killed(
    rank: int, root: Path, whole_of_two: Path, command: Command, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    process = start(run, *OPTIONS, *TWO_DEVICES, f"data.root={root}")
    assert wait_for(process, lambda: epochs(run) >= 2)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    trainers = [int(c) for c in children if b"image_translation.train" in Path(f"/proc/{c}/cmdline").read_bytes()]
    os.kill(trainers[0] if rank else process.pid, signal.SIGKILL)
    process.wait(60)
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{child}").exists() for child in trainers):
        assert time.monotonic() < deadline, "the other process still runs"
        time.sleep(0.1)
    assert status(run) in ("failed", "running")
    finish(command, run)
    assert results_unlike(whole_of_two, run) == []


@pytest.mark.slow
def test_two_processes_stop_at_the_same_batch(root: Path, whole_of_two: Path, command: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start(run, *OPTIONS, *TWO_DEVICES, f"data.root={root}")
    assert wait_for(process, lambda: epochs(run) >= 2)
    os.kill(process.pid, signal.SIGTERM)  # the first process alone
    assert process.wait(60) == 143
    assert status(run) == "interrupted"
    finish(command, run)
    assert results_unlike(whole_of_two, run) == []
