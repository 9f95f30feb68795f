"""Runs that can be typed again: finished ones are skipped, others are resumed or started again; and the whole study."""

import json
import shutil
import signal
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY_AUTOENCODER, TINY_PIX2PIX, Command, make_comic_root, read_json, succeeded
from helpers.processes import start, status, wait_for

from image_translation.runs.files import file_lock, write_json


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def typed(run: Path, comic_root: Path, command: Command) -> Command:
    """Types the run, with more options, once or again."""
    options = [*TINY_AUTOENCODER, f"data.root={comic_root}", "if_exists=resume", f"hydra.run.dir={run}"]
    return partial(command, "train", *options)


def change(run: Path, **facts: Any) -> dict[str, Any]:
    """Change the manifest."""
    manifest = read_json(run / "run.json") | facts
    write_json(run / "run.json", manifest)
    return manifest


def times(run: Path) -> dict[Path, int]:
    """When each file was written."""
    files = (path for path in run.rglob("*") if path.is_file() and path.suffix != ".log")
    return {path: path.stat().st_mtime_ns for path in files}


def test_a_finished_run_is_skipped(comic_root: Path, run: Path, typed: Command) -> None:
    succeeded(typed())
    before = times(run)
    assert "finished already" in succeeded(typed("data.num_workers=1")).stdout  # changes no result
    changed = typed("model.optimizer.lr=1e-3", "trainer.max_epochs=2")
    for side in ("face", "comics"):
        (comic_root / "train" / side / "train0.png").unlink()
    other = typed()
    assert changed.returncode == other.returncode == 1
    assert "model.optimizer.lr: was 0.0002, now 0.001" in changed.stderr
    assert "trainer.max_epochs: was 1, now 2" in changed.stderr
    assert "a run on other images" in other.stderr
    assert times(run) == before


def test_a_run_that_failed_at_once_is_started_again(comic_root: Path, run: Path, typed: Command) -> None:
    image = comic_root / "train" / "face" / "train0.png"
    good = image.read_bytes()
    succeeded(typed())
    manifest = read_json(run / "run.json") | {"status": "failed", "error": "the machine was switched off"}
    (run / "run.json").write_text(json.dumps(manifest))
    shutil.rmtree(run / "checkpoints")  # as if it had been killed before the first one
    (run / "rest.txt").write_text("of the failed attempt")
    image.write_bytes(good[:50])
    assert typed().returncode == 1  # damaged: nothing is touched
    assert (run / "test").exists()
    image.write_bytes(good)
    assert "failed earlier, started again" in succeeded(typed()).stdout
    assert status(run) == "finished"
    assert "error" not in read_json(run / "run.json")
    assert (run / "rest.txt").read_text() == "of the failed attempt"  # who knows whose it is
    assert "cannot be decoded" in (run / "train.log").read_text()  # the log keeps the earlier attempts


def test_an_interrupted_run_is_resumed(comic_root: Path, run: Path, typed: Command) -> None:
    options = ["trainer.max_epochs=12", "seed=null"]
    process = start(run, *TINY_AUTOENCODER, f"data.root={comic_root}", *options)
    assert wait_for(process, (run / "checkpoints" / "last.ckpt").exists)
    process.send_signal(signal.SIGTERM)
    process.wait(120)
    before = read_json(run / "run.json")
    assert before["status"] == "interrupted"
    comic_root.rename(comic_root.with_name("away"))
    assert "does not exist" in typed(*options).stderr
    comic_root.with_name("away").rename(comic_root)
    assert read_json(run / "run.json") == before

    (run / "evaluate" / "train").mkdir(parents=True)  # measured on a checkpoint that training will replace
    assert "resumed from last.ckpt" in succeeded(typed(*options)).stdout
    after = read_json(run / "run.json")
    assert (after["status"], after["epochs"], after["steps"]) == ("finished", 12, 36)
    assert after["seed"] == before["seed"] is not None  # it was drawn
    assert {path.stem for path in (run / "panels").iterdir()} >= {"epoch_0000", "epoch_0012"}
    assert not (run / "evaluate").exists()


def test_a_run_that_had_barely_begun_is_started_again(run: Path, typed: Command) -> None:
    (run / ".hydra").mkdir(parents=True)
    (run / ".hydra" / "config.yaml").write_text("cut off")
    succeeded(typed())
    assert status(run) == "finished"
    (run / "run.json").write_text("{}")  # no manifest any more, and much that must not be lost
    result = typed()
    assert result.returncode == 1
    assert "run.json is damaged" in result.stderr
    assert (run / "checkpoints" / "best.ckpt").exists()


@pytest.mark.slow
def test_a_run_with_a_checkpoint_is_resumed_unless_it_still_runs(run: Path, typed: Command) -> None:
    succeeded(typed())
    manifest = change(run, status="running")  # as of one that was killed, or is running
    with file_lock(run):
        result = typed()
    assert result.returncode == 1
    assert "another process works there" in result.stderr
    assert read_json(run / "run.json") == manifest
    assert "killed earlier, resumed from last.ckpt" in succeeded(typed()).stdout
    change(run, status="failed", error="the disk was full")
    assert "failed earlier, resumed from last.ckpt" in succeeded(typed()).stdout
    change(run, status="failed")
    last = run / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    assert "failed earlier, started again" in succeeded(typed()).stdout


@pytest.mark.slow
def test_the_study_trains_compares_and_can_be_typed_again(command: Command, tmp_path: Path) -> None:
    roots = {task: make_comic_root(tmp_path / "data" / task) for task in ("comic", "monet")}
    for folder in roots["monet"].iterdir():
        (folder / "face").rename(folder / "photo")
        (folder / "comics").rename(folder / "monet")
    root = f"{tmp_path}/data/${{data.task}}"
    arguments = ["train", "experiment=study", "task=comic,monet", "model=pix2pix,autoencoder", "seed=0,1",
                 f"data.root={root}", *TINY_PIX2PIX[1:]]  # fmt: skip
    assert "On comic" in succeeded(command(*arguments)).stdout
    study = tmp_path / "cwd" / "multirun" / "study"
    kinds = product(("comic", "monet"), ("autoencoder", "pix2pix"), (0, 1))
    assert {path.parent.name for path in study.glob("*/run.json")} == {"_".join(map(str, kind)) for kind in kinds}
    assert "Every run that was found is in the table." in (study / "compare" / "report.html").read_text()
    metrics = 3 * 2 + 1  # each also by the study's formulas, and sharpness
    assert (study / "compare" / "table.csv").read_text().count(",train,") == 2 * 4 * metrics  # tasks, models
    metrics = read_json(study / "monet_pix2pix_1" / "test" / "metrics.json")
    assert {"test/psnr", "report/ssim", "identity/report/ssim"} <= set(metrics)

    # Typed again, with one run gone and one of them failed: two are made, the others are skipped.
    change(study / "comic_pix2pix_0", status="failed")
    shutil.rmtree(study / "monet_autoencoder_1")
    again = succeeded(command(*arguments))
    assert again.stdout.count("finished already") == 6
    assert again.stdout.count("failed earlier, resumed from last.ckpt") == 1
    assert "Every run that was found is in the table." in (study / "compare" / "report.html").read_text()


def test_a_study_that_fails_says_so(command: Command, tmp_path: Path) -> None:
    result = command("train", "experiment=study", "task=comic", "model=pix2pix", "seed=0", f"data.root={tmp_path}",
                     *TINY_PIX2PIX[1:])  # fmt: skip
    assert result.returncode == 1
    assert "no finished run to compare" in result.stderr


@pytest.mark.slow
def test_the_study_on_two_processes_each(comic_root: Path, command: Command, tmp_path: Path) -> None:
    arguments = ["task=comic", "model=autoencoder", "seed=0,1", f"data.root={comic_root}", *TINY_AUTOENCODER[1:]]
    arguments += ["trainer.strategy=ddp", "trainer.devices=2", f"hydra.sweep.dir={tmp_path / 'study'}"]
    result = succeeded(command("train", "experiment=study", *arguments))
    runs = {path.parent.name for path in (tmp_path / "study").glob("*/run.json")}
    assert runs == {"comic_autoencoder_0", "comic_autoencoder_1"}
    assert len(list((tmp_path / "study" / "comic_autoencoder_0" / "test" / "images").iterdir())) == 4
    assert result.stdout.count("Report: ") == 1
    assert not (tmp_path / "cwd" / "multirun").exists()
