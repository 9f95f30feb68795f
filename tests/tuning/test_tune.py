"""``tune``: spaces, trials that are ordinary runs, workers that are killed, and what is left in the end."""

import os
import random
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from conftest import PROJECT, TINY_AUTOENCODER, Command, make_comic_root, read_csv, read_json, succeeded
from helpers.quick_training import start_command
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from PIL import Image

from image_translation.cli.app import CONF
from image_translation.cli.errors import UserError, hydra_value
from image_translation.runs.files import file_lock, write_json
from image_translation.tuning import trials
from image_translation.tuning.space import read_space
from image_translation.tuning.trials import Search


@pytest.fixture(autouse=True)
def _quick_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "start_command", start_command)
    monkeypatch.setattr(trials, "POLL", 0.01)
    monkeypatch.setenv("PYTHONPATH", f"{PROJECT}:{PROJECT / 'tests'}")


def search(folder: Path, **options: Any) -> Search:
    defaults = {"space": read_space({"x": [-4.0, 4.0]}), "options": [], "metric": "val/psnr", "defaults": {"x": 1.0},
                "trials": 6, "prune": False}  # fmt: skip
    return Search(folder, **(defaults | options))  # type: ignore[arg-type]


def states(found: Search) -> list[str]:
    return [trial.state.name for trial in found.study.trials]


@pytest.mark.parametrize(("values", "expected"), [
    ([0.1, 1], FloatDistribution(0.1, 1.0)), ([1e-4, 1e-2, "log"], FloatDistribution(1e-4, 1e-2, log=True)),
    ([3, 5], IntDistribution(3, 5)), ([8, 64, "log"], IntDistribution(8, 64, log=True)),
    ([8, 16, 32], CategoricalDistribution([8, 16, 32])), (["bce", "hinge"], CategoricalDistribution(["bce", "hinge"])),
    ([True, False], CategoricalDistribution([True, False])),
])  # fmt: skip
def test_a_space_is_read_as_it_is_written(values: list[Any], expected: Any) -> None:
    assert read_space({"model.x": values}) == {"model.x": expected}


@pytest.mark.parametrize(("space", "expected"), [
    ({}, "tune.space is empty"), (None, "tune.space is empty"), ({"x": 3}, r"x must be \[low, high\]"),
    ({"x": [1]}, r"x must be \[low, high\]"), ({"x": [2.0, 1.0]}, "x="), ({"x": [-1.0, 1.0, "log"]}, "x="),
])  # fmt: skip
def test_a_wrong_space_is_an_error_that_names_the_option(space: Any, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        read_space(space)


@pytest.mark.parametrize(("values", "are_inside"), [
    ({"a": 1e-3, "b": "bce"}, True), ({"a": 1, "b": "bce"}, False), ({"a": 1e-3, "b": "lsgan"}, False), ({}, False),
])  # fmt: skip
def test_defaults_are_tried_first_if_they_are_in_the_space(
    values: dict[str, Any], are_inside: bool, tmp_path: Path
) -> None:
    space = read_space({"a": [1e-4, 1e-2, "log"], "b": ["bce", "hinge"]})
    study = search(tmp_path / "study", space=space, defaults=values).study
    assert [trial.state for trial in study.trials] == [TrialState.WAITING] * are_inside
    assert not are_inside or study.ask(space).params == values


def test_the_defaults_come_first_and_the_best_wins(tmp_path: Path) -> None:
    found = search(tmp_path / "study")
    found.work()

    first, *others = found.study.trials
    assert first.params == {"x": 1.0}
    assert len(others) == 5
    assert states(found) == ["COMPLETE"] * 6
    assert found.study.best_value == max(trial.params["x"] for trial in found.study.trials) + 5


def test_the_same_again_continues_with_more_trials(tmp_path: Path) -> None:
    search(tmp_path / "study", trials=3).work()
    before = [trial.params for trial in search(tmp_path / "study").study.trials]
    found = search(tmp_path / "study", trials=5)
    found.work()

    assert [trial.params for trial in found.study.trials][:3] == before
    assert states(found) == ["COMPLETE"] * 5
    with pytest.raises(UserError, match=r"other options \(model=pix2pix\)"):
        search(tmp_path / "study", options=["model=pix2pix"])
    with pytest.raises(UserError, match=r"other options \(x: FloatDistribution"):
        search(tmp_path / "study", space=read_space({"x": [-4.0, 3.0]}))
    (tmp_path / "study").rename(tmp_path / "elsewhere")
    assert len(search(tmp_path / "elsewhere").study.trials) == 5


def test_a_trial_that_fails_is_told_and_the_next_one_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = search(tmp_path / "study", space=read_space({"x": [-9, -4]}), defaults={"x": -6}, trials=4)
    found.study.enqueue_trial({"x": -9})
    found.work()

    assert states(found)[:2] == ["FAIL", "FAIL"]
    assert "failed: too low. More in" in caplog.text
    assert "failed: much too low. More in" in caplog.text  # it left no run
    assert len(states(found)) == 4


def test_a_training_that_is_refused_ends_the_search(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"trial 0: refused is no option\. More in"):
        search(tmp_path / "study", options=["refused=1"]).work()


def test_a_training_that_is_killed_is_resumed_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = search(tmp_path / "study", options=["killed=1"], trials=1)
    found.work()

    assert states(found) == ["COMPLETE"]
    assert found.study.best_value == 6
    assert "killed by signal 9, and is resumed" in caplog.text


def test_workers_that_begin_together_choose_differently(tmp_path: Path) -> None:
    workers = [search(tmp_path / "study", trials=9, options=["pause=0.05"]) for _ in range(2)]
    threads = [threading.Thread(target=worker.work) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({trial.params["x"] for trial in workers[0].study.trials}) == 9


def test_trials_behind_the_median_are_stopped_and_say_so(tmp_path: Path) -> None:
    found = search(tmp_path / "study", trials=4)
    found.work()
    for value in (-3.9, -3.8):
        found.study.enqueue_trial({"x": value})
    late = search(tmp_path / "study", trials=6, prune=True, options=[])
    late.options = ["pause=0.2"]
    late.work()

    assert states(late)[4:] == ["PRUNED"] * 2
    run = read_json(tmp_path / "study" / "0004" / "run.json")
    assert run["pruned"] == 2  # a third of five is over
    assert len(read_csv(tmp_path / "study" / "0004" / "metrics.csv")) < 5


def test_a_trial_of_a_dead_worker_is_resumed_but_none_that_still_trains(tmp_path: Path) -> None:
    found = search(tmp_path / "study", trials=2)
    for _ in range(2):
        found.study.ask(found.space)  # by workers that died at once
    (tmp_path / "study" / "0001").mkdir()
    with file_lock(tmp_path / "study" / "0001"):  # a training that outlived its worker
        found.work()
        assert states(found) == ["COMPLETE", "RUNNING"]
    write_json(
        tmp_path / "study" / "0001" / "run.json",
        {"status": "finished", "task": "t", "model": "m", "optimized_metric": 7.0},
    )
    found.work()
    assert states(found) == ["COMPLETE", "COMPLETE"]


@pytest.mark.slow
def test_two_workers_killed_ten_times_lose_no_trial_and_count_none_twice(tmp_path: Path) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(f"""
import sys
from pathlib import Path
from helpers.quick_training import start_command
from image_translation.tuning import trials
from image_translation.tuning.space import read_space
trials.start_command, trials.POLL = start_command, 0.01
trials.Search(Path({str(tmp_path / "study")!r}), read_space({{"x": [-4.0, 4.0]}}), ["pause=0.1"], "val/psnr", {{}}, 24,
              False, seed=int(sys.argv[1])).work()
""")

    def start(number: int) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([sys.executable, str(worker), str(number)], start_new_session=True)

    chance, workers = random.Random(0), [start(number) for number in range(2)]
    for kill in range(10):
        time.sleep(2 + 2 * chance.random())
        one = chance.randrange(2)
        if kill % 2:  # with its training
            os.killpg(workers[one].pid, signal.SIGKILL)
        else:  # which continues to train
            workers[one].kill()
        workers[one].wait()
        workers[one] = start(one)
    for process in workers:
        assert process.wait(120) == 0
    time.sleep(1)  # of a training whose worker was killed last
    assert start(0).wait(120) == 0

    study = search(tmp_path / "study", options=["pause=0.1"], trials=24, defaults={}).study
    assert [trial.number for trial in study.trials] == list(range(24))
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}
    for trial in study.trials:
        rows = read_csv(tmp_path / "study" / f"{trial.number:04}" / "metrics.csv")
        assert [int(row["step"]) for row in rows] == [1, 2, 3, 4, 5]
        assert trial.value == trial.params["x"] + 5


@pytest.mark.slow
def test_a_search_on_the_command_line_ends_with_the_test_of_the_winner(command: Command, tmp_path: Path) -> None:
    root, study = make_comic_root(tmp_path / "my pairs"), tmp_path / "a study, odd=1"
    words = [*TINY_AUTOENCODER, f"data.root={root}", "tune.trials=2", f"tune.folder={hydra_value(study)}",
             "tune.space={model.optimizer.lr: [1e-4, 1e-2, log], data.batch_size: [1, 2]}"]  # fmt: skip
    result = succeeded(command("tune", *words))

    table = read_csv(study / "trials.csv")
    assert [row["status"] for row in table] == ["finished"] * 2
    assert float(table[0]["val/psnr"]) >= float(table[1]["val/psnr"])
    assert "model.optimizer.lr=0.0002" in result.stdout  # the default, tried first
    best, other = (study / f"{int(row['trial']):04}" for row in table)
    assert (best / "evaluate" / "test" / "metrics.json").exists()
    assert not (best / "test").exists()
    assert not (other / "evaluate").exists()
    (_, typed) = result.stdout.split(f"The best is trial {int(best.name)}:")
    assert f"data.root={root}" in shlex.split(typed.strip().splitlines()[0])
    with Image.open(study / "tune.png") as figure:
        assert figure.width > 600
    again = succeeded(command("tune", *words))
    assert "Trial" not in again.stdout.split("trial")[0]
    refused = command("tune", *words, "data.hflip=false")
    assert refused.returncode == 1
    assert "holds a study with other options" in refused.stderr


def test_a_database_may_hold_the_study(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'study.db'}"
    search(tmp_path / "study", storage=address, trials=2).work()

    assert len(optuna.load_study(study_name=None, storage=address).trials) == 2
    with pytest.raises(UserError, match=r"tune\.storage=nonsense://here: "):
        search(tmp_path / "other", storage="nonsense://here")


def test_what_the_command_takes(command: Command) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        space = "tune.space={data.batch_size: [2, 4], model/scheduler: [constant, cosine]}"
        config = compose("tune", ["model=resunet", space])
        assert compose("tune", ["model=resunet"]).tune.space is None
    assert read_space(OmegaConf.to_container(config.tune.space)) == {
        "data.batch_size": IntDistribution(2, 4), "model/scheduler": CategoricalDistribution(["constant", "cosine"])
    }  # fmt: skip
    refused = command("tune", "-m", "seed=0,1")
    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: tune is one search")
