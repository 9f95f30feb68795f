"""What a run that goes on keeps, and what it refuses."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import PROJECT, TINY_AUTOENCODER, Command, make_comic_root, succeeded
from helpers.forked import run_module
from omegaconf import DictConfig, OmegaConf
from wandb_file import read_offline_runs, steps_logged

from image_translation import files
from image_translation.cli.errors import UserError
from image_translation.inference.checkpoints import read_checkpoint
from image_translation.runs.files import file_lock, write_json
from image_translation.runs.folder import read_config, read_manifest
from image_translation.runs.run import Run
from image_translation.training.resuming import run_folder

LOGGED = ("logger=[wandb,tensorboard]", "trainer.log_every_n_steps=1")


NAMES = {"task": "comic", "model": "autoencoder"}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one epoch, three steps, each with a state."""
    folder = tmp_path_factory.mktemp("original")
    root = make_comic_root(folder / "pairs")
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
    options = [*TINY_AUTOENCODER, *LOGGED, f"data.root={root}", "checkpoint.every_n_steps=1", "checkpoint.keep=3",
               f"hydra.run.dir={folder / 'run'}"]  # fmt: skip
    succeeded(run_module("image_translation.train", options, folder, environment, folder))
    return folder / "run"


@pytest.fixture
def run(original: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(original, tmp_path / "run", symlinks=True))


def change(run: Path, **facts: Any) -> dict[str, Any]:
    """Change the manifest."""
    manifest: dict[str, Any] = json.loads((run / "run.json").read_text()) | facts
    write_json(run / "run.json", manifest)
    return manifest


def own_config(run: Path) -> DictConfig:
    """The config as a command has it."""
    config = read_config(run)
    config.run = {"dir": str(run)} | NAMES
    return config


def claim(run: Path, best: Path, score: float = 99) -> None:
    """Have the last state say that a file holds the best state so far, which nothing will beat."""
    last = run / "checkpoints" / "last.ckpt"
    state = torch.load(last, weights_only=True)
    kept = next(kept for kept in state["callbacks"].values() if "best_model_path" in kept)
    kept["best_model_path"] = kept["kth_best_model_path"] = str(best)
    kept["best_model_score"] = kept["kth_value"] = torch.tensor(score)
    kept["best_k_models"] = {str(best): torch.tensor(score)}
    torch.save(state, last)


def best_score(run: Path) -> float:
    callbacks = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"]
    return float(next(kept["best_model_score"] for kept in callbacks.values() if "best_model_path" in kept))


def test_a_copied_run_keeps_its_best_state(run: Path, command: Command) -> None:
    claim(run, run.parent / "elsewhere" / "best.ckpt")  # where it was copied from
    best = (run / "checkpoints" / "best.ckpt").read_bytes()
    succeeded(command("train", f"resume={run}", "trainer.max_epochs=2"))
    assert (run / "checkpoints" / "best.ckpt").read_bytes() == best
    assert best_score(run) == 99


@pytest.mark.parametrize("how", ["is gone", "damaged"])
def test_a_best_state_that_is_gone_is_chosen_anew(how: str, run: Path, command: Command) -> None:
    claim(run, run / "checkpoints" / "best.ckpt")
    best = run / "checkpoints" / "best.ckpt"
    if how == "damaged":
        best.write_bytes(best.read_bytes()[:5000])
    else:
        best.unlink()
    result = succeeded(command("train", f"resume={run}", "trainer.max_epochs=2"))
    assert f"best.ckpt{' ' if how == 'is gone' else ': refused: '}{how}" in result.stdout
    assert "The best state is chosen anew" in result.stdout
    assert read_checkpoint(best)["global_step"] == 6
    assert best_score(run) < 99


def test_a_best_state_that_is_gone_at_the_end_is_the_last(run: Path, command: Command) -> None:
    change(run, status="interrupted")
    (run / "checkpoints" / "best.ckpt").unlink()
    result = succeeded(command("train", f"resume={run}"))
    assert "No validation took place since the run went on, so best.ckpt is the last state" in result.stdout
    assert read_checkpoint(run / "checkpoints" / "best.ckpt")["global_step"] == 3


def test_a_damaged_state_is_never_kept_as_an_earlier_one(run: Path, command: Command) -> None:
    last = run / "checkpoints" / "last.ckpt"
    assert len(list(last.parent.glob("step_*"))) == 2
    last.write_bytes(last.read_bytes()[:5000])
    result = succeeded(command("train", f"resume={run}", "trainer.max_epochs=2", "checkpoint.every_n_steps=0"))
    assert "last.ckpt: refused: damaged" in result.stdout
    assert "goes on from step_00000002.ckpt, step 2" in result.stdout
    for path in last.parent.iterdir():
        read_checkpoint(path)


@pytest.mark.parametrize("score", [99.0, -99.0])
def test_a_state_cannot_name_a_file_to_be_removed(score: float, run: Path, command: Command, tmp_path: Path) -> None:
    precious = tmp_path / "precious.ckpt"
    precious.write_text("mine")
    claim(run, precious, score)
    succeeded(command("train", f"resume={run}", "trainer.max_epochs=2"))
    assert precious.read_text() == "mine"


REFUSED = {
    "trainer.max_epochs=0": "it is 1, and can only grow",
    "experiment=demo": "",
    "data=pairs": "",
    "callbacks=ema": "",
    "callbacks.best.monitor=val/mse": "it is val/psnr",
}


def test_what_would_change_the_results_is_refused_by_name(run: Path, command: Command) -> None:
    manifest = change(run, status="interrupted")
    result = command("train", f"resume={run}", *REFUSED)
    assert result.returncode == 1
    for option, reason in REFUSED.items():
        assert f"- {option}: {reason}" in result.stderr
    assert read_manifest(run) == manifest


def test_a_finished_run_says_how_to_go_on(run: Path, command: Command) -> None:
    result = command("train", f"resume={run}", "evaluate=[test,train]")
    assert result.returncode == 1
    assert "trainer.max_epochs=…" in result.stderr
    assert f"image_translation.evaluate run={run}" in result.stderr


def test_what_is_not_the_runs_own_stays(run: Path, command: Command) -> None:
    (run / "notes.txt").write_text("mine")
    (run / "evaluate" / "train").mkdir(parents=True)  # measured on a best state that is replaced
    succeeded(command("train", f"resume={run}", "trainer.max_epochs=2"))
    assert (run / "notes.txt").read_text() == "mine"
    assert not (run / "evaluate").exists()
    assert (run / "test" / "per_image.csv").exists()


@pytest.mark.parametrize(
    "option",
    ["trainer.accelerator=gpu", "evaluate=[foo]", "checkpoint.keep=-1", "callbacks.panels=x", "trainer.max_epochs=x"],
)
def test_a_finished_run_that_cannot_be_trained_longer_is_as_before(option: str, run: Path, command: Command) -> None:
    def content() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in run.rglob("*")
                if path.is_file() and path.suffix != ".log" and "wandb" not in path.parts}  # fmt: skip

    before = content()
    result = command("train", f"resume={run}", "trainer.max_epochs=3", option)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert content() == before


def test_a_later_fall_of_the_learning_rate_is_said(run: Path, command: Command) -> None:
    config = read_config(run)
    config.model.lr_decay_epochs = 1
    (run / ".hydra" / "config.yaml").write_text(OmegaConf.to_yaml(config))
    result = succeeded(command("train", f"resume={run}", "trainer.max_epochs=2"))
    assert "The learning rate falls over the last 1 epochs, and these are later now" in result.stdout


def test_a_config_does_not_look_into_the_environment(run: Path, command: Command) -> None:
    config = read_config(run)
    config.data.root = "${oc.env:HOME}"
    (run / ".hydra" / "config.yaml").write_text(OmegaConf.to_yaml(config))
    result = command("train", f"resume={run}", "trainer.max_epochs=2")
    assert result.returncode == 1
    assert "data.root is '${oc.env:HOME}', which could look into your surroundings" in result.stderr


def test_nothing_is_logged_twice(run: Path, command: Command) -> None:
    """A run that was killed when all was logged, but before it said that it is finished."""
    change(run, status="running", process={"host": "elsewhere", "id": 1})
    succeeded(command("train", f"resume={run}", WANDB_MODE="offline"))
    assert read_manifest(run)["status"] == "finished"
    check_logged_once(run, [3])
    succeeded(command("train", f"resume={run}", "trainer.max_epochs=2", WANDB_MODE="offline"))  # longer
    check_logged_once(run, [3, 6])


def check_logged_once(run: Path, steps: list[int]) -> None:
    """Check that each name was logged at each of its steps, and what belongs to the end of a run at these."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard")).Reload()
    scalars = {tag: [event.step for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    del scalars["epoch"]  # which goes with every other
    with_wandb = steps_logged(run)
    for name in ("test/psnr", "identity/psnr", "best/val/psnr", "val/psnr"):
        assert scalars[name] == steps
        assert [step for (known, step) in sorted(with_wandb) if known == "/".join(name.split("/")[:2])] == steps
    assert [step for (known, step) in sorted(with_wandb) if known == "test/images"] == steps
    assert scalars["train/l1_step"] == list(range(1, steps[-1] + 1))
    assert all(len(set(steps)) == len(steps) for steps in scalars.values())
    assert [event.step for event in events.Images("panel")] == [0, *steps]
    assert set(with_wandb.values()) == {1}
    assert {part.id for part in read_offline_runs(run) if part.id} == {read_manifest(run)["wandb_id"]}


def test_without_a_logger_the_wandb_run_stays_known(run: Path, command: Command) -> None:
    known = read_manifest(run)["wandb_id"]
    assert known
    succeeded(command("train", f"resume={run}", "trainer.max_epochs=2", "logger=none"))
    assert read_manifest(run)["wandb_id"] == known


def test_a_run_that_is_killed_as_it_goes_on_keeps_its_facts(run: Path) -> None:
    before = change(run, status="running", started="2026-01-01T00:00:00+00:00", wall_time_s=7)
    Run(run, own_config(run), before, run / "checkpoints" / "last.ckpt", **NAMES).__enter__()  # and no more
    after = read_manifest(run)
    assert after["status"] == "running"
    for fact in ("data", "seed", "batch_size", "device", "precision", "wandb_id"):
        assert after[fact] == before[fact]


def test_the_time_up_to_a_kill_counts(run: Path) -> None:
    state = run / "checkpoints" / "last.ckpt"
    before = change(run, status="running", started="2026-01-01T00:00:00+00:00", wall_time_s=7)
    os.utime(state, (0, 1767225600 + 100))  # 100 s later
    with Run(run, own_config(run), before, state, **NAMES):
        pass
    assert 107 <= read_manifest(run)["wall_time_s"] < 110
    before = change(run, status="interrupted", wall_time_s=7)
    with Run(run, own_config(run), before, state, **NAMES):
        pass
    assert 7 <= read_manifest(run)["wall_time_s"] < 10


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for runs below the current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "outputs"


def test_the_last_run_is_one_that_can_go_on(runs: Path) -> None:
    def make(name: str, day: int, status: str, state: bool = False) -> Path:
        folder = runs / name
        (folder / "checkpoints").mkdir(parents=True)
        if state:
            (folder / "checkpoints" / "last.ckpt").touch()
        write_json(folder / "run.json", {"status": status, "task": "comic", "model": "pix2pix",
                                         "started": f"2026-01-{day:02}T00:00:00+00:00"})  # fmt: skip
        return folder

    make("failed at its start", 9, "failed")
    with pytest.raises(UserError, match="no run in outputs or multirun was stopped"):
        run_folder("last", "new")
    make("finished", 8, "finished", state=True)
    make("earlier", 3, "interrupted", state=True)
    stopped = make("stopped", 5, "interrupted")
    assert Path(run_folder("last", "new")).resolve() == stopped
    failed = make("failed late", 6, "failed", state=True)
    assert Path(run_folder("last", "new")).resolve() == failed
    killed = make("killed", 7, "running")
    assert Path(run_folder("last", "new")).resolve() == killed


def test_one_process_at_a_time(run: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """On other machines too, whose processes can't be seen."""
    manifest = change(run, status="running", process={"host": "elsewhere", "id": 1})
    with file_lock(run):
        result = command("train", f"resume={run}")
        assert result.returncode == 1
        assert "another process is at work there" in result.stderr
        assert read_manifest(run) == manifest
        monkeypatch.setattr(files, "PATIENCE", 0)
        with pytest.raises(UserError, match="another process"), file_lock(run):
            pass
    with file_lock(run):  # free again
        pass
    succeeded(command("train", f"resume={run}"))


ODD: dict[str, Any] = {
    "without a part": lambda state: state.pop("loops"),
    "a part of another kind": lambda state: state.update(callbacks=[1]),
    "another moment": lambda state: state["last_checkpoint"].update(moment="x"),
    "a weight more": lambda state: state["state_dict"].update(more=torch.zeros(1)),
    "small weights": lambda state: state["state_dict"].update({key: torch.zeros(1) for key in state["state_dict"]}),
    "small optimizers": lambda state: state["optimizer_states"][0]["state"][0].update(exp_avg=torch.zeros(1)),
    "odd callbacks": lambda state: state["callbacks"].update({key: [1] for key in state["callbacks"]}),
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if "a" in n.split() else []) for n in ODD])
def test_a_state_that_is_none_of_a_training(name: str, run: Path, command: Command) -> None:
    last = run / "checkpoints" / "last.ckpt"
    state = torch.load(last, weights_only=True)
    ODD[name](state)
    torch.save(state, last)
    for earlier in last.parent.glob("step_*"):
        earlier.unlink()
    result = command("train", f"resume={run}", "trainer.max_epochs=2")
    assert result.returncode == 1
    assert "last.ckpt" in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.splitlines()) == 1
