"""Faults that people met with one run: what was typed, and the right answer."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT, TINY_AUTOENCODER, Command, read_csv, read_json, succeeded
from helpers.processes import epochs, start, status, wait_for

NOBODY = """import pwd, runpy, sys
pwd.getpwuid = {}.__getitem__  # as for the user of a container who is in no list
sys.argv = [sys.argv[1], *sys.argv[2:]]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)"""


@pytest.mark.parametrize(("name", "home"), [
    ("check", None), pytest.param("train", "/proc/nowhere", marks=pytest.mark.slow)
])  # fmt: skip
def test_without_a_home_folder_caches_are_temporary(name: str, home: str | None, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    environment = {key: value for key, value in environment.items() if key not in ("HOME", "XDG_CACHE_HOME")}
    environment |= {"HOME": home} if home else {}
    options = (*TINY_AUTOENCODER, "trainer.limit_train_batches=1", "logger=wandb") if name == "train" else ()
    folder = tmp_path / "cwd"
    folder.mkdir()
    command = [sys.executable, "-c", NOBODY, f"image_translation.{name}", *options]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stderr.endswith("caches are temporary. Set XDG_CACHE_HOME to a folder that can be written.\n")
    assert (home or "home directory") in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not list(tmp_path.glob("image_translation-*"))
    assert "~" not in {path.name for path in folder.rglob("*")}


def test_a_run_folder_below_the_home_folder_and_commands_to_paste(
    comic_root: Path, command: Command, tmp_path: Path
) -> None:
    place = "~/my runs (1), it's=$x"
    quoted = place.replace("'", "\\'")
    options = (*TINY_AUTOENCODER, f"data.root={comic_root}", "trainer.limit_val_batches=0")
    for word in (f"hydra.run.dir='{quoted}'", "hydra.run.dir=~/plain"):
        succeeded(command("train", *options, word, HOME=str(tmp_path)))
    assert not (tmp_path / "cwd" / "~").exists()
    assert (tmp_path / "plain" / "run.json").exists()
    run = tmp_path / place.removeprefix("~/")
    error = command("train", f"resume='{str(run).replace(chr(39), chr(92) + chr(39))}'", HOME=str(tmp_path)).stderr
    words = shlex.split(error[error.index("python -m image_translation.evaluate") :])
    succeeded(command("evaluate", *words[3:], HOME=str(tmp_path)))
    assert (run / "evaluate" / "train" / "metrics.json").exists()


def test_a_trial_of_one_batch_keeps_nothing_and_warns_of_nothing(comic_root: Path, command: Command) -> None:
    result = succeeded(command("train", *TINY_AUTOENCODER, f"data.root={comic_root}", "trainer.fast_dev_run=true",
                               "logger=wandb"))  # fmt: skip
    assert "fast_dev_run: a batch of each split works. Nothing is kept." in result.stdout
    assert "no best checkpoint" not in result.stdout + result.stderr
    assert not list((comic_root.parent / "cwd").iterdir())


@pytest.mark.parametrize(("options", "lines"), [((), 2), (("progress=none",), 0), (("progress=bar",), 2)])
def test_a_file_gets_one_plain_line_an_epoch(
    options: tuple[str, ...], lines: int, comic_root: Path, command: Command
) -> None:
    result = succeeded(command("train", *TINY_AUTOENCODER, f"data.root={comic_root}", "trainer.max_epochs=2", *options,
                               "hydra.run.dir=run", JPY_PARENT_PID="1"))  # fmt: skip
    found = re.findall(r"^Epoch (\d)/2: train/loss \S+, val/mse \S+, val/psnr \S+, val/ssim \S+, \S+ s$", result.stdout,
                       flags=re.MULTILINE)  # fmt: skip
    assert found == ["1", "2"][:lines]
    assert "\x1b" not in result.stdout + result.stderr


@pytest.mark.skipif(not shutil.which("script"), reason="needs a terminal, by util-linux")
def test_a_terminal_shows_bars_that_leave_only_the_lines(comic_root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "image_translation.train", *TINY_AUTOENCODER, f"data.root={comic_root}",
               "trainer.max_epochs=2", "hydra.run.dir=run"]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1", "TERM": "xterm"}
    shown = subprocess.run(["script", "-qec", shlex.join(command), os.devnull], cwd=tmp_path, env=environment,
                           capture_output=True, text=True, check=True).stdout  # fmt: skip
    for title in ("Epoch 1/2", "Epoch 2/2", "Validation", "Test"):
        assert re.search(rf"{title} .*━", shown), title
    assert len(re.findall(r"Epoch \d/2: train/loss", shown)) == 2


def test_the_last_run_is_evaluated_and_a_stopped_one_concluded(
    comic_root: Path, command: Command, tmp_path: Path
) -> None:
    options = (*TINY_AUTOENCODER, f"data.root={comic_root}")
    assert "run=last: no run in outputs or multirun" in command("evaluate", "run=last").stderr
    succeeded(command("train", *options))
    (run,) = (tmp_path / "cwd" / "outputs" / "comic" / "autoencoder").iterdir()
    place = tmp_path / "cwd" / "outputs" / "stopped"
    process = start(place, *options, "trainer.max_epochs=1000")
    assert wait_for(process, lambda: epochs(place) >= 2)
    process.terminate()
    process.wait(60)
    (tmp_path / "cwd" / "outputs" / "damaged").mkdir()
    (tmp_path / "cwd" / "outputs" / "damaged" / "run.json").write_text("{")
    succeeded(command("evaluate", "run=last"))
    assert (place / "evaluate" / "test" / "metrics.json").exists()
    trained = read_csv(place / "metrics.csv")
    succeeded(command("train", "resume=last", f"trainer.max_epochs={len(trained)}"))
    assert status(place) == "finished"
    assert read_csv(place / "metrics.csv") == trained
    succeeded(command("compare", f"runs=[{run},{place}]", "output=both"))
    compared = read_json(tmp_path / "cwd" / "both" / "comparison.json")["runs"]["comic"].values()
    assert sorted(folder for folders in compared for folder in folders) == sorted(map(str, (run, place)))
