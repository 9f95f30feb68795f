"""Runs that can be typed again: finished ones are passed over, others go on or start again; and the whole study."""

import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import PROJECT, TINY_AUTOENCODER, TINY_PIX2PIX, Command, make_comic_root, succeeded
from wandb_file import read_offline_runs

from image_translation.runs.processes import is_alive

EPOCHS = 12


def read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def test_a_finished_run_is_passed_over(comic_root: Path, command: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ["train", *TINY_AUTOENCODER, f"data.root={comic_root}", "if_exists=continue", f"hydra.run.dir={run}"]
    succeeded(command(*arguments))
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.suffix != ".log" and path.is_file()}
    again = succeeded(command(*arguments, "data.num_workers=1"))  # changes no result
    assert "finished already" in again.stdout
    assert before == {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.suffix != ".log" and p.is_file()}

    changed = command(*arguments, "model.learning_rate=1e-3", "trainer.max_epochs=2")
    assert changed.returncode == 1
    assert "model.learning_rate: was 0.0002, now 0.001" in changed.stderr
    assert "trainer.max_epochs: was 1, now 2" in changed.stderr

    for side in ("face", "comics"):
        (comic_root / "train" / side / "train0.png").unlink()
    other = command(*arguments)
    assert other.returncode == 1
    assert "a run on other images" in other.stderr
    assert read_json(run / "run.json")["status"] == "finished"
    assert before == {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.suffix != ".log" and p.is_file()}


def test_a_failed_run_starts_again(comic_root: Path, command: Command, tmp_path: Path) -> None:
    run, image = tmp_path / "run", comic_root / "train" / "face" / "train0.png"
    arguments = ["train", *TINY_AUTOENCODER, f"data.root={comic_root}", "if_exists=continue", f"hydra.run.dir={run}"]
    good = image.read_bytes()
    image.write_bytes(good[:50])
    assert command(*arguments).returncode == 1
    assert read_json(run / "run.json")["status"] == "failed"
    (run / "rest.txt").write_text("of the failed attempt")
    (run / "test").mkdir()
    assert command(*arguments).returncode == 1  # still damaged: nothing is touched
    assert (run / "test").exists()
    image.write_bytes(good)
    result = succeeded(command(*arguments))
    assert "failed earlier, starts again" in result.stdout
    assert read_json(run / "run.json")["status"] == "finished"
    assert "error" not in read_json(run / "run.json")
    assert (run / "rest.txt").read_text() == "of the failed attempt"  # who knows whose it is
    assert "cannot be decoded" in (run / "train.log").read_text()  # the log keeps the earlier attempt


@pytest.mark.parametrize(("sent", "options"), [(signal.SIGTERM, TINY_PIX2PIX), (signal.SIGKILL, TINY_AUTOENCODER)])
def test_an_interrupted_run_goes_on(
    sent: signal.Signals, options: tuple[str, ...], comic_root: Path, command: Command, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    arguments = [*options, f"data.root={comic_root}", f"trainer.max_epochs={EPOCHS}", "logger=wandb", "seed=null",
                 "if_exists=continue", f"hydra.run.dir={run}"]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "image_translation.train", *arguments],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (run / "checkpoints" / "last.ckpt").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(sent)
    process.wait(timeout=120)
    before = read_json(run / "run.json")
    assert before["status"] == ("interrupted" if sent == signal.SIGTERM else "running")

    # What goes wrong in between takes nothing of it: pairs that are away, pairs that are others.
    comic_root.rename(comic_root.with_name("away"))
    assert "does not exist" in command("train", *arguments).stderr
    comic_root.with_name("away").rename(comic_root)
    extra = [comic_root / "train" / side / "extra.png" for side in ("face", "comics")]
    for path in extra:
        path.write_bytes((path.parent / "train0.png").read_bytes())
    assert "a run on other images" in command("train", *arguments).stderr
    for path in extra:
        path.unlink()
    assert read_json(run / "run.json") == before

    (run / "evaluate" / "train").mkdir(parents=True)  # measured on a checkpoint that training will replace
    result = succeeded(command("train", *arguments))
    assert "goes on from last.ckpt, step " in result.stdout
    after = read_json(run / "run.json")
    assert (after["status"], after["epochs"], after["steps"]) == ("finished", EPOCHS, 3 * EPOCHS)
    assert after["wandb_id"] == before["wandb_id"]
    assert after["seed"] == before["seed"]  # which was drawn
    rows = [line.split(",")[:2] for line in (run / "metrics.csv").read_text().splitlines()[1:]]
    assert rows == [[str(epoch), str(3 * epoch)] for epoch in range(1, EPOCHS + 1)]
    assert {f"{path.stem}" for path in (run / "panels").iterdir()} >= {"epoch_0000", f"epoch_{EPOCHS:04}"}
    parts = read_offline_runs(run)  # of the first W&B may not have written a word when it was killed
    assert [part.folder.name.rsplit("-", 1)[1] for part in parts] == [before["wandb_id"]] * 2
    assert parts[1].id == before["wandb_id"]
    assert after["cost"]["training_s"] > 0
    assert not (run / "evaluate").exists()


def test_a_run_that_had_barely_begun_starts_again(comic_root: Path, command: Command, tmp_path: Path) -> None:
    (tmp_path / "run" / ".hydra").mkdir(parents=True)
    (tmp_path / "run" / ".hydra" / "config.yaml").write_text("cut off")
    arguments = ["train", "model=identity", "logger=none", "data.image_size=64", f"data.root={comic_root}",
                 "if_exists=continue", f"hydra.run.dir={tmp_path / 'run'}"]  # fmt: skip
    succeeded(command(*arguments))
    assert read_json(tmp_path / "run" / "run.json")["status"] == "finished"
    (tmp_path / "run" / "run.json").write_text("{}")  # no manifest any more, and much that must not be lost
    result = command(*arguments)
    assert result.returncode == 1
    assert "run.json is damaged" in result.stderr
    assert (tmp_path / "run" / "checkpoints" / "best.ckpt").exists()


def test_a_run_that_is_still_going_on_is_left_alone(comic_root: Path, command: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ["train", *TINY_AUTOENCODER, f"data.root={comic_root}", "if_exists=continue", f"hydra.run.dir={run}"]
    succeeded(command(*arguments))
    manifest = read_json(run / "run.json") | {"status": "running"}
    stat = Path(f"/proc/{os.getpid()}/stat").read_text()
    manifest["process"] |= {"id": os.getpid(), "started": int(stat.rpartition(")")[2].split()[19])}  # it is alive
    (run / "run.json").write_text(json.dumps(manifest))
    result = command(*arguments)
    assert result.returncode == 1
    assert f"still going on (process {os.getpid()})" in result.stderr
    assert read_json(run / "run.json") == manifest
    manifest["process"]["started"] -= 1  # the id is another process's now
    (run / "run.json").write_text(json.dumps(manifest))
    assert "goes on from last.ckpt, step " in succeeded(command(*arguments)).stdout


def test_the_study_trains_compares_and_can_be_typed_again(command: Command, tmp_path: Path) -> None:
    roots = {task: make_comic_root(tmp_path / "data" / task) for task in ("comic", "monet")}
    for source, name in (("face", "photo"), ("comics", "monet")):
        for split in ("train", "val", "test"):
            (roots["monet"] / split / source).rename(roots["monet"] / split / name)
    root = f"{tmp_path}/data/${{data.task}}"
    arguments = ["train", "experiment=study", "task=comic,monet", "seed=0,1", f"data.root={root}", *TINY_PIX2PIX[1:]]
    first = succeeded(command(*arguments))
    study = tmp_path / "cwd" / "multirun" / "study"
    runs = sorted(study.glob("*/run.json"))
    assert [run.parent.name for run in runs] == [
        f"{task}_{model}_{seed}"
        for task in ("comic", "monet")
        for model in ("autoencoder", "pix2pix")
        for seed in (0, 1)
    ]
    assert "On comic" in first.stdout
    page = (study / "compare" / "report.html").read_text()
    assert "Every run that was found is in the table." in page
    assert (study / "compare" / "table.csv").read_text().count(",train,") == 2 * 3 * 3 + 2 * 3 * 3  # and report/…
    metrics = read_json(study / "monet_pix2pix_1" / "test" / "metrics.json")
    assert {"test/psnr", "report/ssim", "identity/report/ssim"} <= set(metrics)

    # Typed again, with one run gone and one of them failed: two are made, the others are passed over.
    manifest = read_json(study / "comic_pix2pix_0" / "run.json") | {"status": "failed"}
    (study / "comic_pix2pix_0" / "run.json").write_text(json.dumps(manifest))
    (study / "monet_autoencoder_1" / "run.json").unlink()
    for path in sorted((study / "monet_autoencoder_1").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    again = succeeded(command(*arguments))
    assert again.stdout.count("finished already") == 6
    assert again.stdout.count("failed earlier, goes on from last.ckpt, step ") == 1
    assert "Every run that was found is in the table." in (study / "compare" / "report.html").read_text()


def test_a_study_that_fails_says_so(command: Command, tmp_path: Path) -> None:
    result = command(
        "train", "experiment=study", "task=comic", "seed=0", f"data.root={tmp_path}/nowhere", *TINY_PIX2PIX[1:]
    )
    assert result.returncode == 1
    assert "no finished run to compare" in result.stderr


def test_a_failed_run_goes_on_if_it_had_come_far(comic_root: Path, command: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ["train", *TINY_AUTOENCODER, f"data.root={comic_root}", "if_exists=continue", f"hydra.run.dir={run}"]
    succeeded(command(*arguments))
    manifest = read_json(run / "run.json") | {"status": "failed", "error": "the disk was full"}
    (run / "run.json").write_text(json.dumps(manifest))
    assert "failed earlier, goes on from last.ckpt, step " in succeeded(command(*arguments)).stdout
    last = run / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    (run / "run.json").write_text(json.dumps(manifest))
    assert "failed earlier, starts again" in succeeded(command(*arguments)).stdout


@pytest.mark.slow
def test_the_study_on_two_processes_each(comic_root: Path, command: Command, tmp_path: Path) -> None:
    arguments = ["task=comic", "model=autoencoder", "seed=0,1", f"data.root={comic_root}", *TINY_AUTOENCODER[1:]]
    arguments += ["trainer.strategy=ddp", "trainer.devices=2", f"hydra.sweep.dir={tmp_path / 'study'}"]
    result = succeeded(command("train", "experiment=study", *arguments))
    assert sorted(path.name for path in (tmp_path / "study").iterdir() if (path / "run.json").exists()) == [
        "comic_autoencoder_0", "comic_autoencoder_1",
    ]  # fmt: skip
    assert len(list((tmp_path / "study" / "comic_autoencoder_0" / "test" / "images").iterdir())) == 4
    assert result.stdout.count("Report: ") == 1
    assert not (tmp_path / "cwd" / "multirun").exists()


def test_a_process_that_was_killed_is_gone_before_its_parent_notices() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    ticks = int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19])
    manifest = {"process": {"host": platform.node(), "id": process.pid, "started": ticks}}
    assert is_alive(manifest)
    process.kill()
    deadline = time.monotonic() + 60
    while is_alive(manifest):  # it is never waited for here
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert Path(f"/proc/{process.pid}").exists()
    process.wait(60)
