"""A full disk, a folder that is gone, a disk that became read-only: one message, and the last checkpoint is intact."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from conftest import TINY_PIX2PIX, Command
from helpers.processes import finish, results_unlike, start, status, wait_for

from image_translation.runs.files import write_text
from image_translation.runs.resume import find_resume_checkpoint
from image_translation.training.checkpoint_io import AtomicCheckpointIO

MIB = 2**20
OPTIONS = (*TINY_PIX2PIX, "trainer.max_epochs=10", "checkpoint.every_n_steps=2")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 16 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a file system needs root's rights")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(folder: Path, leave: int = 0) -> Path:
    """Take all the room there is."""
    file = folder / "filler"
    with suppress(OSError), file.open("wb", buffering=0) as taken:
        while shutil.disk_usage(folder).free > leave:
            taken.write(bytes(4096))
    return file


def save(path: Path, size: int) -> None:
    AtomicCheckpointIO().save_checkpoint({"x": torch.zeros(size // 4)}, path)


@pytest.mark.parametrize("write", [lambda path, size: write_text(path, "x" * size), save], ids=["text", "checkpoint"])
def test_a_file_is_complete_or_as_it_was(write, small_disk: Path) -> None:  # type: ignore[no-untyped-def]
    path = small_disk / "file"
    write(path, 1000)
    before = path.read_bytes()
    fill(small_disk, leave=MIB)
    with pytest.raises(OSError, match="No space left") as raised:
        write(path, 2 * MIB)
    assert raised.value.filename == str(path)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(OSError, match="Read-only file system"):
        write(path, 1000)
    assert path.read_bytes() == before
    assert sorted(p.name for p in small_disk.iterdir()) == ["file", "filler"]


def message_of(process: "subprocess.Popen[bytes]", run: Path) -> str:
    """What a training says that fails."""
    assert process.wait(120) == 1
    said = run.with_suffix(".txt").read_text()
    assert said.count("Error: ") == 1
    assert str(run) in said
    assert "Traceback" not in said
    return said


def test_a_full_disk(comic_root: Path, small_disk: Path, command: Command, tmp_path: Path) -> None:
    """The run ends with a message, its last checkpoint is intact, and it can be resumed when there is room again."""
    whole, run = tmp_path / "whole", tmp_path / "run"
    undisturbed = start(whole, *OPTIONS, f"data.root={comic_root}")
    (small_disk / "run").mkdir()
    run.symlink_to(small_disk / "run")  # what is printed goes to the larger disk
    process = start(run, *OPTIONS, f"data.root={comic_root}")
    assert wait_for(process, (run / "checkpoints" / "last.ckpt").exists)
    os.killpg(process.pid, signal.SIGSTOP)
    filler = fill(small_disk)
    os.killpg(process.pid, signal.SIGCONT)
    assert "No space left on device" in message_of(process, run)
    filler.unlink()
    assert find_resume_checkpoint(run, required=True) is not None
    assert not list(run.rglob("*.tmp"))
    assert status(run) in ("failed", "running")  # there was no room for the manifest either
    finish(command, run)
    assert undisturbed.wait(300) == 0
    assert results_unlike(whole, run) == []


@pytest.mark.slow
def test_a_folder_that_is_gone(comic_root: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start(run, *OPTIONS, f"data.root={comic_root}", "trainer.max_epochs=1000")
    assert wait_for(process, (run / "checkpoints" / "last.ckpt").exists)
    while run.exists():  # it writes meanwhile
        shutil.rmtree(run, ignore_errors=True)
    message_of(process, run)
    assert not list(run.rglob("*.ckpt"))
