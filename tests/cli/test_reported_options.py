"""Faults that people met with the command line: what was typed, and the right answer."""

import re
import shlex
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY_AUTOENCODER, Command, read_csv, read_json, succeeded
from hydra.core.override_parser.overrides_parser import OverridesParser
from PIL import Image, ImageOps

from image_translation.cli.errors import command_line


def test_a_sweep_that_is_refused_shows_no_scores_of_the_one_before(
    comic_root: Path, command: Command, tmp_path: Path
) -> None:
    sweep = ("-m", *TINY_AUTOENCODER, f"data.root={comic_root}", f"hydra.sweep.dir={tmp_path / 'sweep'}", "seed=0,1")
    result = succeeded(command("train", *sweep))
    scores = [row["val/psnr"] for row in read_csv(tmp_path / "sweep" / "sweep.csv")]
    assert result.stdout.count("│ finished │") == len(scores) == 2
    assert scores == sorted(scores, key=float, reverse=True)
    shown = re.findall(r"^│ (\d)\s+│\s+(\d) │ finished │\s+(\S+) │", result.stdout, flags=re.MULTILINE)
    assert [(job, seed, float(score)) for job, seed, score in shown] == [
        (row["seed"], row["seed"], pytest.approx(float(row["val/psnr"]), abs=1e-3))
        for row in read_csv(tmp_path / "sweep" / "sweep.csv")
    ]
    before = {path: path.read_bytes() for path in (tmp_path / "sweep").rglob("*.[cj]s*")}
    result = command("train", *sweep, "model.optimizer.lr=1e-3")
    assert result.returncode == 1
    assert result.stderr.startswith(f"Error: {tmp_path / 'sweep'} holds another sweep, and nothing is overwritten.")
    assert "finished" not in result.stdout
    assert {path: path.read_bytes() for path in before} == before
    again = command("train", *sweep, "model.optimizer.lr=1e-3", "if_exists=resume")  # each job is refused
    assert again.returncode == 1
    assert re.findall(r"│ +(\S+) │ +│ +│ +│ +│", again.stdout) == ["failed", "failed"]
    assert again.stderr.count("holds a run with other options, and nothing is overwritten") == 2
    assert {path: path.read_bytes() for path in before} == before


def test_runs_that_start_in_one_second_have_folders_of_their_own(
    comic_root: Path, command: Command, tmp_path: Path
) -> None:
    options = (*TINY_AUTOENCODER, f"data.root={comic_root}", "hydra.run.dir='runs/${now:%Y}_${unique:}'")
    with ThreadPoolExecutor() as pool:
        for result in pool.map(lambda _: command("train", *options), range(2)):
            succeeded(result)
    assert len(list((tmp_path / "cwd" / "runs").glob("*/test/metrics.json"))) == 2
    assert succeeded(command("train", "--cfg", "hydra")).stdout.count("_${unique:}") == 2  # of a run and of a sweep


@pytest.mark.parametrize("model", ["autoencoder", "pix2pix"])
def test_a_schedule_of_a_longer_resume_goes_on_where_the_new_one_is(
    model: str, comic_root: Path, command: Command, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    succeeded(command("train", *TINY_AUTOENCODER, f"model={model}", f"data.root={comic_root}", f"hydra.run.dir={run}",
                      "model/scheduler=linear", "model.scheduler.decay_epochs=1", "trainer.max_epochs=2"))  # fmt: skip
    succeeded(command("train", f"resume={run}", "trainer.max_epochs=4"))
    rates = [float(row["train/learning_rate"]) for row in read_csv(run / "metrics.csv")]
    assert rates == pytest.approx([2e-4, 1e-4, 2e-4, 1e-4])


HABITS = {
    "epochs=3": "unknown option 'epochs'. Use trainer.max_epochs=… instead.",
    "+epochs=3": "unknown option 'epochs'. Use trainer.max_epochs=… instead.",
    "lr=1e-3": "unknown option 'lr'. Use model.optimizer.lr=… instead.",
    "batch=4": "unknown option 'batch'. Use data.batch_size=… instead.",
    "imgsz=128": "unknown option 'imgsz'. Use data.image_size=… instead.",
    "+tasks=comic": "unknown option 'tasks'. Did you mean 'task'",
    "+trainer.max_epoch=3": "unknown option 'trainer.max_epoch'. Did you mean 'trainer.max_epochs'",
    "+run.foo=1": "unknown option 'run.foo'.",
    "--data-root /x": "--data-root: options are written key=value, as data.root=/x.",
    "comic": "'comic' is no option. Options are written key=value, as task=comic.",
    "--task comic": "--task: options are written key=value, as task=comic.",
    "--batch-size=4": "--batch-size=4: options are written key=value, as data.batch_size=4.",
    "--continue_train": "--continue_train: options are written key=value, as resume=….",
    "--batchSize 4": "--batchSize: options are written key=value, as data.batch_size=4.",
    "data=/my/pairs": "unknown data '/my/pairs'; there are pairs. Your pairs: data.root=/my/pairs.",
}


@pytest.mark.parametrize("typed", HABITS)
def test_what_other_tools_call_an_option_is_answered_with_its_name(typed: str, command: Command) -> None:
    result = command("train", *typed.split())
    assert result.returncode == 1
    assert result.stderr.startswith(f"Error: {HABITS[typed]}")
    assert len(result.stderr.splitlines()) == 1


def test_flags_may_stand_anywhere(command: Command, tmp_path: Path) -> None:
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "own.yaml").write_text("# @package data\ntask: own\nlayout: aligned\n")
    for folder in ((f"--config-dir={tmp_path}",), ("--config-dir", tmp_path)):
        result = succeeded(command("train", "task=own", "--cfg", "job", *folder, "seed=3", "model=autoencoder"))
        for text in ("task: own", "seed: 3", "UNetAutoencoder"):
            assert text in result.stdout


def test_groups_and_nested_options_can_still_be_added(command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "own.yaml").write_text("# @package _global_\ndata:\n  image_size: 64\n")
    for folder in ((f"--config-dir={tmp_path}",), ("--config-dir", tmp_path)):
        result = succeeded(
            command("train", *folder, "+mine=own", "++seed=3", "+trainer.profiler=simple", "--cfg", "job")
        )
        assert "image_size: 64" in result.stdout
        assert "seed: 3" in result.stdout


@pytest.mark.parametrize(
    "value", ["a b", "it's (1)", 'say "hi"', "C:\\Jörg\\", 'x\\"y', "a,b", "${x}", ["ä", "b c", "d"]]
)
def test_a_printed_option_means_its_value(value: Any) -> None:
    (word,) = shlex.split(command_line("train", **{"data.root": value}))[3:]
    parsed = OverridesParser.create().parse_override(word).value()
    assert parsed == value if isinstance(value, str) else list(map(str, parsed)) == value


@pytest.mark.parametrize("mistake", ["model.norm=odd", "trainer.max_epochs=abc", "model.base_channels=0", "+epochs=3"])
def test_a_start_that_fails_leaves_nothing(mistake: str, comic_root: Path, command: Command, tmp_path: Path) -> None:
    mine, other = tmp_path / "cwd" / "mine", tmp_path / "cwd" / "other"
    for folder, name in ((mine, "train.log"), (other, "notes.txt")):
        folder.mkdir()
        (folder / name).write_text("mine")
    for more in ((), (f"hydra.run.dir={mine}",), (f"hydra.run.dir={other}",)):
        result = command("train", *TINY_AUTOENCODER, f"data.root={comic_root}", mistake, *more)
        assert result.returncode == 1
    assert not list((tmp_path / "cwd").rglob("run.json"))
    assert [path.name for path in mine.iterdir()] == ["train.log"]
    assert (mine / "train.log").read_text().startswith("mine")
    assert [path.name for path in other.iterdir()] == ["notes.txt"]
    assert not list((tmp_path / "cwd").glob("outputs/*/*/*"))


@pytest.mark.parametrize("name", ["train", "evaluate", "compare", "check", "export"])
def test_help_has_a_sentence_for_each_option(name: str, command: Command) -> None:
    said = succeeded(command(name, "--help", *(["model=autoencoder"] if name == "train" else []))).stdout
    options = said.split("Options and their current values:")[1].split("Example")[0].splitlines()
    bare = [line for line in options if re.match(r" *[a-z]\w*: ?\S", line) and " # " not in line]
    assert not bare
    assert any(re.match(r"debug: false +# show the traceback", line) for line in options)
    if name == "train":
        assert options.index("data:") < options.index("model:") < options.index("trainer:")
        assert any(re.match(r"  base_channels: 128 +# width", line) for line in options)


def test_the_optimized_metric_is_of_the_averaged_weights_that_are_tested(
    comic_root: Path, command: Command, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    for target in (comic_root / "val" / "comics").iterdir():  # the opposite of what is learned: the first epoch is best
        with Image.open(target) as learned:
            opposite = ImageOps.invert(learned)
        opposite.save(target)
    succeeded(command("train", *TINY_AUTOENCODER, f"data.root={comic_root}", f"hydra.run.dir={run}", "callbacks=ema",
                      "callbacks.ema.decay=0.5", "trainer.max_epochs=3", "model.optimizer.lr=0.01",
                      "optimized_metric=val/mse"))  # fmt: skip
    rows = read_csv(run / "metrics.csv")
    best = max(rows, key=lambda row: float(row["val/psnr"]))
    assert best != rows[-1]
    assert read_json(run / "run.json")["optimized_metric"] == pytest.approx(float(best["val/mse"]), rel=1e-4)
