"""Faults that people met, each on the command line: what was typed, and the right answer."""

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import PROJECT, TINY_AUTOENCODER, Command, comic_of, image, read_csv, read_json, succeeded
from helpers.fake_runs import make_run
from helpers.processes import epochs, start, status, wait_for
from helpers.training import make_data
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from image_translation import load


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


def test_groups_and_nested_options_can_still_be_added(command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "own.yaml").write_text("# @package _global_\ndata:\n  image_size: 64\n")
    for folder in ((f"--config-dir={tmp_path}",), ("--config-dir", tmp_path)):
        result = succeeded(
            command("train", *folder, "+mine=own", "++seed=3", "+trainer.profiler=simple", "--cfg", "job")
        )
        assert "image_size: 64" in result.stdout
        assert "seed: 3" in result.stdout


def pair(root: Path, *names: str) -> Path:
    """Images in files of these names, two by two a pair."""
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        source = image(number // 2)
        (comic_of(source) if number % 2 else source).save(path)
    return root


@pytest.mark.parametrize(("folders", "names"), [
    (("trainA", "trainB"), ("trainA/1.png", "trainB/1.png", "testA/2.png", "testB/2.png")),
    (("A", "B"), ("trainA/1.png", "trainB/1.png", "testA/2.png", "testB/2.png")),
    (("A", "B"), ("train_A/1.png", "train_B/1.png", "test_A/2.png", "test_B/2.png")),
    (("train_A", "train_B"), ("train_A/1.png", "train_B/1.png", "test_A/2.png", "test_B/2.png")),
])  # fmt: skip
def test_the_folders_of_other_tools_are_splits(
    folders: tuple[str, str], names: tuple[str, ...], command: Command, tmp_path: Path
) -> None:
    root = pair(tmp_path / "pairs", *names, "extra/3.png")
    result = command("check", f"data.root={root}", "data.val_fraction=0", "data.layout=folders",
                     f"data.input_folder={folders[0]}", f"data.target_folder={folders[1]}")  # fmt: skip
    assert "Pairs: 1 in train, 1 in test." in result.stdout
    assert "ignored folders: extra" in result.stdout


def test_sub_folders_are_searched(command: Command, tmp_path: Path) -> None:
    root = pair(tmp_path / "pairs", "train/face/bonn/1.png", "train/comics/bonn/1.png", "train/face/köln/1.png",
                "train/comics/köln/1.png", "val/face/2.png", "val/comics/2.png", "test/face/a/b/3.png",
                "test/comics/a/b/3.png")  # fmt: skip
    run = tmp_path / "run"
    succeeded(command("train", *TINY_AUTOENCODER, f"data.root={root}", f"hydra.run.dir={run}"))
    assert [row["name"] for row in read_csv(run / "test" / "per_image.csv")] == ["a_b_3"]
    assert (run / "test" / "images" / "a_b_3.png").exists()
    assert read_json(run / "run.json")["data"]["counts"] == {"train": 2, "val": 1, "test": 1}


@pytest.mark.parametrize(("names", "options"), [
    (("face/p00.png", "comics/p00_night.png", "face/p01.png", "comics/p01_night.png"), "data.target_suffix=_night"),
    (("face/a_x.png", "comics/a_y.png", "face/b_x.png", "comics/b_y.png"), "data.input_suffix=x data.target_suffix=y"),
])  # fmt: skip
def test_suffixes_that_make_pairs_are_proposed_and_work(
    names: tuple[str, ...], options: str, command: Command, tmp_path: Path
) -> None:
    root = f"data.root={pair(tmp_path / 'pairs', *names)}"
    fractions = ("data.val_fraction=0", "data.test_fraction=0")
    assert f"All are pairs with {options}" in command("check", root, *fractions).stdout
    assert "Pairs: 2 in train" in command("check", root, *fractions, *options.split()).stdout
    pair(tmp_path / "all", *(name.partition("/")[2] for name in names))
    same = ("data.input_folder=all", "data.target_folder=all", *options.split())
    assert "Pairs: 2 in train" in command("check", f"data.root={tmp_path}", *fractions, *same).stdout


def test_data_of_another_task_is_answered_with_that_task(comic_root: Path, command: Command) -> None:
    for task in ("monet", "facades", "coloring"):
        result = command("check", f"task={task}", f"data.root={comic_root}")
        assert "Is it for task=comic?" in result.stdout + result.stderr


def test_metadata_of_any_size_or_state_are_ignored_with_a_warning(
    comic_root: Path, command: Command, tmp_path: Path
) -> None:
    """Pixels are what counts."""
    faces, large, many = comic_root / "train" / "face", PngInfo(), PngInfo()
    large.add_text("prompt", "x" * 2**21, zip=True)
    for number in range(70):
        many.add_itxt(str(number), "y" * (2**20 - 100), zip=True)
    options: list[dict[str, Any]] = [
        {"pnginfo": large}, {"pnginfo": many}, {"exif": b"Exif\0\0broken"}, {"icc_profile": b"no profile"},
        {"icc_profile": b"\0" * 2**21},
    ]  # fmt: skip
    whole = make_data(comic_root)
    whole.setup()
    before = whole.datasets["train"][0]["input"]
    for number, more in enumerate(options):
        image(number + 1).save(faces / f"train{number}.png", **more)
    image(6).save(faces / "train5.webp", lossless=True, exif=b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0")
    (faces / "train5.png").unlink()
    run = tmp_path / "run"
    result = succeeded(command("train", *TINY_AUTOENCODER, f"data.root={comic_root}", f"hydra.run.dir={run}",
                               "data.cache=none"))  # fmt: skip
    texts = "texts or its color profile"
    for number, what in enumerate([texts, texts, "EXIF", "color profile is", texts]):
        assert len(re.findall(rf"train{number}\.png: its {what}.* ignored", result.stdout)) == 1
    whole.datasets.clear()
    whole.setup()
    assert torch.equal(whole.datasets["train"][0]["input"], before)


@pytest.mark.parametrize("change", ["save_top_k=3", "save_top_k=-1", "filename=epoch"])
def test_only_one_checkpoint_is_the_best(change: str, comic_root: Path, command: Command) -> None:
    result = command("train", *TINY_AUTOENCODER, f"data.root={comic_root}", f"callbacks.best.{change}")
    assert result.returncode == 1
    assert "Error: callbacks.best writes best.ckpt, which is tested. For more: checkpoint.keep=3" in result.stderr


def test_a_model_knows_the_background_that_it_was_trained_on(
    comic_root: Path, command: Command, tmp_path: Path
) -> None:
    run, file = tmp_path / "run", tmp_path / "generator.safetensors"
    succeeded(command("train", *TINY_AUTOENCODER, f"data.root={comic_root}", f"hydra.run.dir={run}",
                      "data.background=black"))  # fmt: skip
    succeeded(command("export", f"run={run}", f"output={file}"))
    clear, black = Image.new("RGBA", (40, 24), (255, 255, 255, 0)), Image.new("RGB", (40, 24))
    for model in (load(run), load(file)):
        assert np.array_equal(model.predict(clear), model.predict(black))


NOBODY = """import pwd, runpy, sys
pwd.getpwuid = {}.__getitem__  # as for the user of a container who is in no list
sys.argv = [sys.argv[1], *sys.argv[2:]]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)"""


@pytest.mark.parametrize(("name", "home"), [("check", None), ("train", "/proc/nowhere")])
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


def readme_model() -> tuple[str, str]:
    """The code and the config that the README prints."""
    text = (PROJECT / "README.md").read_text().split("## Add a model")[1]
    code, config = re.findall(r"```(?:python|yaml)\n(.*?)```", text, flags=re.DOTALL)
    return code, config


OF_ANY_MODEL = [option for option in TINY_AUTOENCODER if not option.startswith("model")]


def test_the_model_of_the_readme_runs_as_printed_inside_the_package(comic_root: Path, tmp_path: Path) -> None:
    """And so does one that imports the base from the package, which its files are a part of."""
    code, config = readme_model()
    package = tmp_path / "checkout"
    for part in ("image_translation", "conf"):
        shutil.copytree(PROJECT / part, package / part, ignore=shutil.ignore_patterns("__pycache__"))
    module = package / "image_translation/models/my_model.py"
    (package / "conf/model/my_model.yaml").write_text(config)
    other = code.replace("models.base import Batch, Image", "models import Image").replace("batch: Batch", "batch")
    assert other != code
    for written, name, arguments in (
        (code, "train", ["model=my_model", *OF_ANY_MODEL, f"data.root={comic_root}", "hydra.run.dir=run"]),
        (other, "evaluate", ["run=run"]),
    ):
        module.write_text(written)
        command = [sys.executable, "-m", f"image_translation.{name}", *arguments]
        environment = os.environ | {"PYTHONPATH": str(package), "OMP_NUM_THREADS": "1"}
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr


def test_the_model_of_the_readme_runs_as_printed_outside(comic_root: Path, command: Command, tmp_path: Path) -> None:
    code, config = readme_model()
    folder, own = tmp_path / "cwd", "--config-dir=my_conf"
    (folder / "my_conf" / "model").mkdir(parents=True)
    (folder / "my_model.py").write_text(code)
    config = config.replace("image_translation.models.my_model.MyModel", "my_model.MyModel")
    (folder / "my_conf" / "model" / "my_model.yaml").write_text(config)
    succeeded(command("train", own, "model=my_model", *OF_ANY_MODEL, f"data.root={comic_root}", "hydra.run.dir=run"))
    succeeded(command("evaluate", own, "run=run"))
    succeeded(command("export", own, "run=run", "output=my.safetensors"))


def test_a_trial_of_one_batch_keeps_nothing_and_warns_of_nothing(comic_root: Path, command: Command) -> None:
    result = succeeded(command("train", *TINY_AUTOENCODER, f"data.root={comic_root}", "trainer.fast_dev_run=true",
                               "logger=wandb", "hydra.run.dir=run"))  # fmt: skip
    assert "fast_dev_run: a batch of each split works. Nothing is kept." in result.stdout
    assert "no best checkpoint" not in result.stdout + result.stderr
    assert not (comic_root.parent / "cwd" / "run").exists()


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


DDP = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "hydra.run.dir=run", "trainer.max_epochs=2")
OWN_CALLBACK = """import pytorch_lightning as pl

class Bad(pl.Callback):
    def on_train_batch_start(self, trainer, *_):
        if trainer.global_rank == 1 and trainer.current_epoch == EPOCH:
            raise RuntimeError("the disk of node 7 is on fire")
"""


@pytest.mark.parametrize("epoch", [0, 1])
def test_the_reason_of_a_failure_on_another_process_is_said(
    epoch: int, comic_root: Path, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "cwd" / "own.py").write_text(OWN_CALLBACK.replace("EPOCH", str(epoch)))
    result = command("train", *TINY_AUTOENCODER, *DDP, f"data.root={comic_root}", "+callbacks.bad._target_=own.Bad",
                     PYTHONPATH=f"{PROJECT}:{tmp_path / 'cwd'}")  # fmt: skip
    reason = "A process of this run failed, process 1: the disk of node 7 is on fire"
    assert result.returncode == 1
    assert f"Error: {reason}\n" in result.stderr
    assert "Connection closed by peer" not in result.stderr
    run = tmp_path / "cwd" / "run"
    assert run.exists() == bool(epoch)  # before the first step nothing is left
    if epoch:
        assert read_json(run / "run.json")["error"] == reason
        assert reason in (run / "train.log").read_text()
        assert not (run / ".reason").exists()


def test_a_quote_in_the_name_of_a_folder_hinders_no_process(comic_root: Path, command: Command, tmp_path: Path) -> None:
    options = (*TINY_AUTOENCODER, *DDP[:3], f"data.root={comic_root}")
    succeeded(command("train", *options, "hydra.run.dir='a \"b\"'"))
    assert read_json(tmp_path / "cwd" / 'a "b"' / "run.json")["device"]["count"] == 2


def test_fewer_processes_than_devices_are_refused(comic_root: Path, command: Command) -> None:
    """As under ``srun --ntasks=1``."""
    slurm = {f"SLURM_{name}": "0" for name in ("PROCID", "LOCALID", "NODEID")}
    slurm |= {"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "train", "SLURM_JOB_ID": "1"}
    result = command("train", *TINY_AUTOENCODER, *DDP, f"data.root={comic_root}", **slurm)
    assert result.returncode == 1
    assert "Error: 2 devices were asked for, but there are 1 processes." in result.stderr


def test_the_installed_command_runs_them_all(comic_root: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [Path(sys.executable).with_name("image-translation"), *arguments]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    listed, wrong = run(), run("trian")
    assert (listed.returncode, wrong.returncode) == (0, 1)
    for name in ("train", "evaluate", "compare", "check", "download", "export"):
        assert re.search(rf"^  {name} +\S", listed.stdout, flags=re.MULTILINE)
    assert "image_translation.check" in run("check", "--help").stdout
    assert "Error: name is not set" in run("download").stderr
    trained = run("train", *TINY_AUTOENCODER, *DDP, f"data.root={comic_root}")  # its further processes are started too
    assert trained.returncode == 0, trained.stderr
    assert read_json(tmp_path / "run" / "run.json")["device"]["count"] == 2


def test_what_windows_lacks_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    module = runpy.run_module("image_translation.training.device")
    assert module["peak_memory"](torch.device("cpu")) == 0


def test_a_comparison_has_the_options_in_columns(tmp_path: Path, command: Command) -> None:
    for number, rate in enumerate([1e-4, 1e-3]):
        make_run(tmp_path / "runs" / str(number), options={"model": {"optimizer": {"lr": rate}}})
    succeeded(command("compare", f"runs=[{tmp_path / 'runs'}]"))
    rows = read_csv(tmp_path / "cwd" / "compare" / "table.csv")
    assert {row["model.optimizer.lr"] for row in rows if row["model"] != "identity"} == {"0.0001", "0.001"}
    assert {row["model.optimizer.lr"] for row in rows if row["model"] == "identity"} == {""}


def test_too_few_images_are_not_called_no_difference(tmp_path: Path, command: Command) -> None:
    """Where every image agrees and no p could be below 0.05, nobody can tell."""
    for number, (model, noise) in enumerate({"pix2pix": 10.0, "autoencoder": 40.0}.items()):
        make_run(tmp_path / "runs" / str(number), model=model, noise=noise, count=5)
    said = succeeded(command("compare", f"runs=[{tmp_path / 'runs'}]")).stdout
    assert "there are too few images to tell autoencoder and pix2pix apart in MSE, PSNR and SSIM" in said
    assert "better on 5 of 5 images" in said
    assert "no significant difference" not in said
    assert "5 test images are too few for 9 comparisons: no p can be below 0.05. Look at the intervals." in said


def test_values_in_a_corner_of_their_range_and_label_maps_are_warned_of(command: Command, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(4):
        photo = np.asarray(image(number).convert("L")).astype(np.uint16) * 16  # 12 bits
        labels = np.kron(rng.integers(0, 32, (8, 8), np.uint8), np.ones((8, 8), np.uint8))
        for folder, pixels in {"face": photo, "comics": labels}.items():
            (tmp_path / "pairs" / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "pairs" / folder / f"{number}.png")
    said = command("check", f"data.root={tmp_path / 'pairs'}").stdout
    assert "Images that use less than a quarter of their range" in said
    assert "4 of 4 inputs" in said
    assert "Give the numbers of label maps clear colors" in said
    assert "4 of 4 targets" in said


def test_what_a_crop_loses_is_said_once(comic_root: Path, command: Command) -> None:
    for path in comic_root.rglob("*.png"):
        Image.open(path).resize((96, 64)).save(path)
    for _ in range(2):  # from the files, and from what is remembered of them
        result = command("train", *TINY_AUTOENCODER, f"data.root={comic_root}", "trainer.fast_dev_run=true")
        assert result.stdout.count("lose what is outside their middle square, 33 % on average.") == 1
    result = command("train", *TINY_AUTOENCODER, f"data.root={comic_root}", "trainer.fast_dev_run=true",
                     "data.resize=stretch")  # fmt: skip
    assert "middle square" not in result.stdout


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


def test_the_report_opens_with_images_and_has_a_row_for_each_of_many_models(tmp_path: Path, command: Command) -> None:
    for number in range(5):
        make_run(tmp_path / "runs" / str(number), model=f"m{number}", noise=50.0 - 10 * number)
    succeeded(command("compare", f"runs=[{tmp_path / 'runs'}]"))
    page = (tmp_path / "cwd" / "compare" / "report.html").read_text()
    glance, rest = page.split('<section id="glance"')[1].split('<section id="table"')
    assert re.findall(r"★ (m\d)", glance) == ["m4"]
    assert glance.count('data-view="0/') == 3 * 5  # three images of each model
    assert "data:image/svg+xml" in glance  # the means with their intervals
    table = rest.split("</table>")[0]
    assert re.findall(r'<td class="l">(\w+)</td>', table) == ["m0", "m1", "m2", "m3", "m4", "identity"]
    assert "<summary>How they were compared" in rest


SPAWN = """import multiprocessing, runpy, sys
if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    sys.argv[0] = "image_translation.train"
    runpy.run_module("image_translation.train", run_name="__main__", alter_sys=True)
"""


def test_workers_can_be_started_as_on_windows(comic_root: Path, tmp_path: Path) -> None:
    """junyanz/pytorch-CycleGAN-and-pix2pix issues 203 and 947."""
    (tmp_path / "spawn.py").write_text(SPAWN)
    command = [sys.executable, "spawn.py", *TINY_AUTOENCODER, f"data.root={comic_root}", "data.num_workers=1",
               "data.cache=none", "hydra.run.dir=run"]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("metric", ["val/mse", "val/ssim"])
def test_a_sweep_is_ranked_by_any_val_metric(metric: str, comic_root: Path, command: Command, tmp_path: Path) -> None:
    succeeded(command("train", "seed=0,1", *TINY_AUTOENCODER, f"data.root={comic_root}", f"optimized_metric={metric}",
                      f"hydra.sweep.dir={tmp_path / 's'}", "-m"))  # fmt: skip
    rows = read_csv(tmp_path / "s" / "sweep.csv")
    values = [float(row[metric]) for row in rows]
    assert values == sorted(values, reverse=metric == "val/ssim")
    for row in rows:  # of one epoch, which is the best
        (epoch,) = read_csv(tmp_path / "s" / row["job"] / "metrics.csv")
        assert float(row[metric]) == pytest.approx(float(epoch[metric]), rel=1e-3)
