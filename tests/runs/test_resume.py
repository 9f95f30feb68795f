"""What a resumed run keeps, and what it refuses."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY_AUTOENCODER, Command, make_comic_root, succeeded, train
from helpers.processes import results_unlike

from image_translation.cli.errors import UserError
from image_translation.inference.checkpoints import read_checkpoint
from image_translation.runs.files import file_lock, write_json
from image_translation.runs.folder import read_config, read_manifest
from image_translation.runs.resume import run_folder
from image_translation.runs.run import Run


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs: ``one`` epoch, three steps, each with a checkpoint, and ``two`` epochs."""
    folder = tmp_path_factory.mktemp("originals")
    root = make_comic_root(folder / "pairs")
    for epochs, name in enumerate(("one", "two"), start=1):
        train(folder, *TINY_AUTOENCODER, f"data.root={root}", "checkpoint.every_n_steps=1", "checkpoint.keep=3",
              f"trainer.max_epochs={epochs}", f"hydra.run.dir={folder / name}")  # fmt: skip
    return folder


@pytest.fixture
def run(originals: Path, tmp_path: Path) -> Path:
    """A copy of the first."""
    return Path(shutil.copytree(originals / "one", tmp_path / "run"))


def change(run: Path, **facts: Any) -> dict[str, Any]:
    """Change the manifest."""
    manifest = read_manifest(run) | facts
    write_json(run / "run.json", manifest)
    return manifest


def content(run: Path) -> dict[Path, bytes]:
    files = (path for path in run.rglob("*") if path.is_file() and path.suffix != ".log" and path.name != ".lock")
    return {path: path.read_bytes() for path in files}


def damage(path: Path) -> None:
    """Cut a file in half, but not another name of it."""
    half = path.read_bytes()[: path.stat().st_size // 2]
    path.unlink()
    path.write_bytes(half)


def test_a_moved_run_keeps_its_best_checkpoint(run: Path, command: Command) -> None:
    last, best = run / "checkpoints" / "last.ckpt", run / "checkpoints" / "best.ckpt"
    before, checkpoint = best.read_bytes(), torch.load(last, weights_only=True)
    kept = next(state for state in checkpoint["callbacks"].values() if "best_model_path" in state)
    for key in ("best_model_score", "kth_value"):
        kept[key] = torch.tensor(99.0)  # which nothing will exceed
    kept["best_k_models"] = {kept["best_model_path"]: torch.tensor(99.0)}
    assert not kept["best_model_path"].startswith(str(run))
    torch.save(checkpoint, last)
    succeeded(command("train", f"resume={run}", "trainer.max_epochs=2"))
    assert best.read_bytes() == before
    after = torch.load(last, weights_only=True)["callbacks"].values()
    assert next(state["best_model_path"] for state in after if "best_model_path" in state) == str(best)


def test_a_best_checkpoint_that_is_gone_is_chosen_anew(run: Path, command: Command) -> None:
    best = run / "checkpoints" / "best.ckpt"
    best.unlink()
    result = succeeded(command("train", f"resume={run}", "trainer.max_epochs=2"))
    assert "best.ckpt is gone. A new best checkpoint is chosen." in result.stdout
    assert read_checkpoint(best)["global_step"] == 6
    best.unlink()
    change(run, status="interrupted")
    result = succeeded(command("train", f"resume={run}"))  # nothing is left to train
    assert "There is no best checkpoint, so best.ckpt gets the last weights." in result.stdout
    assert read_checkpoint(best)["global_step"] == 6


def test_an_earlier_checkpoint_takes_the_place_of_a_damaged_one(originals: Path, run: Path, command: Command) -> None:
    checkpoints = run / "checkpoints"
    damage(checkpoints / "last.ckpt")
    damage(checkpoints / "step_00000003.ckpt")
    result = succeeded(command("train", f"resume={run}", "trainer.max_epochs=2"))
    assert "last.ckpt: damaged" in result.stdout
    assert "resumed from step_00000002.ckpt" in result.stdout
    for path in checkpoints.iterdir():
        read_checkpoint(path)  # the damaged one was not kept as an earlier one
    assert results_unlike(originals / "two", run) == []

    for path in checkpoints.iterdir():
        damage(path)
    before = content(run)
    result = command("train", f"resume={run}", "trainer.max_epochs=3")
    assert result.returncode == 1
    assert "There is no undamaged checkpoint to resume from, and nothing was changed." in result.stderr
    assert "last.ckpt: damaged" in result.stderr
    assert content(run) == before


MISTAKES = {
    "changed": (["data.image_size=128", "model=pix2pix", "seed=5", "callbacks.best.monitor=val/mse"],
                ["data.image_size: was 64, now 128", "now image_translation.models.Pix2Pix", "seed: was 0, now 5",
                 "callbacks.best.monitor: was auto, now val/mse", "trainer.max_epochs, "]),
    "shorter": (["trainer.max_epochs=0"], ["current_epoch=1", "max_epochs=0"]),
    "finished": (["evaluate=[test,train]"], ["this run is finished", "max_epochs=…", "evaluate run="]),
    "no such device": (["trainer.max_epochs=3", "trainer.accelerator=abacus"], ["trainer: ", "abacus"]),
    "two devices": (["trainer.max_epochs=3", "trainer.devices=2"], ["the run had 1 devices", "trainer.devices=1"]),
    "no such split": (["trainer.max_epochs=3", "evaluate=[foo]"], ["evaluate must be one of", "'foo'"]),
    "no checkpoints": (["trainer.max_epochs=3", "checkpoint.keep=0"], ["callbacks.last.keep must be at least 1"]),
    "no such pairs": (["trainer.max_epochs=3", "data.root=/no/where"], ["/no/where does not exist"]),
    "two folders": (["hydra.run.dir=there"], ["hydra.run.dir and resume both name the run's folder"]),
    "a sweep": (["-m", "seed=0,1"], ["resume works on one run"]),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_until_a_step_is_taken_the_run_is_as_it_was(case: str, run: Path, command: Command) -> None:
    before, (options, expected) = content(run), MISTAKES[case]
    result = command("train", *options, f"resume={run}")
    assert result.returncode == 1
    for text in expected:
        assert text in result.stderr
    assert "Traceback" not in result.stderr
    assert content(run) == before


def test_a_run_keeps_its_own_options(originals: Path, run: Path, command: Command, tmp_path: Path) -> None:
    """Said again or not; its pairs may have moved, but must be the same."""
    before, options = content(run), [f"resume={run}", "trainer.max_epochs=2", "task=comic", "data.num_workers=1"]
    other = make_comic_root(tmp_path / "other", {"train": 7, "val": 2, "test": 4})
    refused = command("train", *options, f"data.root={other}")
    assert refused.returncode == 1
    assert "a run on other images (fingerprint " in refused.stderr
    assert content(run) == before
    moved = Path(shutil.copytree(originals / "pairs", tmp_path / "moved"))
    succeeded(command("train", *options, f"data.root={moved}"))
    assert results_unlike(originals / "two", run) == []
    assert read_config(run).data.root == str(moved)
    assert "trainer.max_epochs=2" in (run / ".hydra" / "overrides.yaml").read_text()


def test_a_run_that_is_killed_again_keeps_its_facts(run: Path) -> None:
    before = change(run, status="running", started="2026-01-01T00:00:00+00:00", wall_time_s=7, wandb_id="abc")
    config = read_config(run)
    config.resume, config.run = str(run), {"dir": str(run), "task": "comic", "model": "autoencoder"}
    Run(config, [], run, before, False).begin()  # and no more
    after = read_manifest(run)
    for fact in ("status", "data", "seed", "batch_size", "device", "precision", "wandb_id"):
        assert after[fact] == before[fact]


def test_resume_last_is_the_latest_that_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def make(place: str, day: int, status: str, checkpoint: bool = True) -> Path:
        folder = tmp_path / place / str(day)
        (folder / "checkpoints").mkdir(parents=True)
        if checkpoint:
            (folder / "checkpoints" / "last.ckpt").touch()
        facts = {"status": status, "task": "comic", "model": "pix2pix", "started": f"2026-01-0{day}T00:00:00+00:00"}
        write_json(folder / "run.json", facts)
        return folder

    def found() -> Path:
        return Path(run_folder("last", "new")).resolve()

    make("outputs", 9, "failed", checkpoint=False)
    with pytest.raises(UserError, match="no run in outputs or multirun was stopped"):
        found()
    make("outputs", 8, "finished")
    make("multirun", 3, "interrupted")
    stopped = make("multirun", 5, "interrupted")
    assert found() == stopped
    failed = make("outputs", 6, "failed")
    assert found() == failed
    killed = make("multirun", 7, "running", checkpoint=False)
    assert found() == killed
    with file_lock(killed):  # it still runs
        assert found() == failed
