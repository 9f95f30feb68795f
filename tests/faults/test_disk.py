"""A full disk, a folder that is gone, a place that can't be written: one message, and the last state is intact."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from conftest import Command, make_comic_root
from test_kill import OPTIONS, begun, go_on, kill, results_unlike, start, status, wait_for

from image_translation.cli.errors import UserError
from image_translation.inference.checkpoints import find_resume_checkpoint
from image_translation.runs.files import write_csv, write_json, write_text
from image_translation.training.checkpoint_io import SafeCheckpointIO

MIB = 2**20


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_comic_root(tmp_path_factory.mktemp("data") / "pairs")


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
    with file.open("wb") as taken:
        try:
            while shutil.disk_usage(folder).free > leave:
                taken.write(bytes(4096))
                taken.flush()
        except OSError:
            pass
    return file


@pytest.mark.parametrize("write", [
    lambda path, size: write_text(path, "x" * size),
    lambda path, size: write_json(path, {"x": "x" * size}),
    lambda path, size: write_csv(path, [{"x": "x" * size}], ["x"]),
])  # fmt: skip
def test_a_file_is_there_whole_or_as_it_was(write, small_disk: Path) -> None:  # type: ignore[no-untyped-def]
    path = small_disk / "file"
    write(path, 1000)
    before = path.read_bytes()
    fill(small_disk, leave=MIB)
    with pytest.raises(OSError, match="No space left"):
        write(path, 2 * MIB)
    assert path.read_bytes() == before
    assert sorted(p.name for p in small_disk.iterdir()) == ["file", "filler"]


@pytest.mark.slow
def test_a_full_disk(root: Path, small_disk: Path, command: Command, tmp_path: Path) -> None:
    """The run ends with a message, its last state is sound, and with room again it ends as if nothing had happened."""
    whole, run = tmp_path / "whole", small_disk / "run"
    assert start(whole, *OPTIONS, f"data.root={root}").wait(300) == 0
    process = start(run, *OPTIONS, f"data.root={root}")
    last = run / "checkpoints" / "last.ckpt"
    assert wait_for(process, last.exists)
    os.killpg(process.pid, signal.SIGSTOP)
    filler = fill(small_disk)
    os.killpg(process.pid, signal.SIGCONT)
    assert process.wait(120) == 1
    said = (small_disk / "run.txt").read_text() if (small_disk / "run.txt").stat().st_size else ""
    assert "Traceback" not in said
    filler.unlink()
    state = find_resume_checkpoint(run / "checkpoints", required=True)
    assert state is not None
    assert not list(run.rglob("*.tmp"))
    assert status(run) in ("failed", "running")  # the manifest had no room either
    go_on(command, run)
    assert results_unlike(whole, run) == []


def test_a_full_disk_is_named(root: Path, small_disk: Path, tmp_path: Path) -> None:
    link = tmp_path / "run"
    (small_disk / "run").mkdir()
    link.symlink_to(small_disk / "run")
    process = start(link, *OPTIONS, f"data.root={root}")
    assert wait_for(process, lambda: (link / "checkpoints" / "last.ckpt").exists())
    os.killpg(process.pid, signal.SIGSTOP)
    fill(small_disk)
    os.killpg(process.pid, signal.SIGCONT)
    assert process.wait(120) == 1
    said = (tmp_path / "run.txt").read_text()
    assert "No space left on device" in said
    assert "Traceback" not in said


@pytest.mark.slow
@pytest.mark.parametrize("gone", ["the run", "checkpoints"])
def test_a_folder_that_vanishes(gone: str, root: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start(run, *OPTIONS, f"data.root={root}", "trainer.max_epochs=1000")
    assert wait_for(process, lambda: (run / "checkpoints" / "last.ckpt").exists())
    folder = run if gone == "the run" else run / "checkpoints"
    while folder.exists():  # it writes meanwhile
        shutil.rmtree(folder, ignore_errors=True)
    assert process.wait(60) == 1
    said = (tmp_path / "run.txt").read_text()
    assert "Error: " in said
    assert str(folder) in said
    assert "Traceback" not in said
    assert not folder.exists() or not list(folder.rglob("*.ckpt"))  # nothing is made up in its place


def test_a_place_that_became_read_only(small_disk: Path) -> None:
    (small_disk / "run").mkdir()
    last, saving = small_disk / "run" / "checkpoints" / "last.ckpt", SafeCheckpointIO()
    saving.save_checkpoint({"step": 1}, last)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(UserError, match=r"last\.ckpt can't be written: Read-only file system\. The one written before"):
        saving.save_checkpoint({"step": 2}, last)
    assert torch.load(last, weights_only=True) == {"step": 1}
    assert [path.name for path in last.parent.iterdir()] == ["last.ckpt"]


@pytest.mark.slow
def test_a_damaged_state_is_said_and_an_earlier_one_taken(root: Path, command: Command, tmp_path: Path) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert start(whole, *OPTIONS, f"data.root={root}").wait(300) == 0
    process = start(run, *OPTIONS, f"data.root={root}", "checkpoint.keep=2")
    folder = run / "checkpoints"
    assert wait_for(process, lambda: len(list(folder.glob("step_*"))) >= 1 and begun(run))
    kill(process)
    for path in folder.glob(".*"):
        path.unlink()
    content = bytearray((folder / "last.ckpt").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "last.ckpt").unlink()  # the earlier one may be the same file by another name
    (folder / "last.ckpt").write_bytes(content)
    earlier = folder.glob("step_*").__next__()
    hidden = earlier.rename(tmp_path / earlier.name)
    before = sorted(path.name for path in folder.iterdir())
    refused = command("train", f"resume={run}")
    assert refused.returncode == 1
    assert "There is no sound state to go on from, and nothing was changed" in refused.stderr
    assert "last.ckpt: damaged" in refused.stderr
    assert sorted(path.name for path in folder.iterdir()) == before
    hidden.rename(earlier)
    go_on(command, run)
    assert f"goes on from {earlier.name}" in (run / "train.log").read_text()
    assert results_unlike(whole, run) == []
