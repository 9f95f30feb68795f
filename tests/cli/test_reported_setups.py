"""Faults that people met with models of their own, processes and systems: what was typed, and the right answer."""

import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import PROJECT, TINY_AUTOENCODER, Command, read_csv, read_json, succeeded


def readme_model() -> tuple[str, str]:
    """The code and the config that the README prints."""
    text = (PROJECT / "README.md").read_text().split("## Add a model")[1]
    code, config = re.findall(r"```(?:python|yaml)\n(.*?)```", text, flags=re.DOTALL)
    return code, config


OF_ANY_MODEL = [option for option in TINY_AUTOENCODER if not option.startswith("model")]


@pytest.mark.slow
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
    reason, run = "A process of this run failed, process 1: the disk of node 7 is on fire", tmp_path / "cwd" / "run"
    assert "the disk of node 7 is on fire" in result.stderr
    assert "Connection closed by peer" not in result.stderr
    if epoch or result.returncode != 1:
        assert read_json(run / "run.json").items() >= {"status": "failed", "error": reason}.items()
    if result.returncode == -signal.SIGKILL:  # by Lightning, if this machine is so busy that 5 s are too few to end
        return
    assert result.returncode == 1
    assert f"Error: {reason}\n" in result.stderr
    assert run.exists() == bool(epoch)  # before the first step nothing is left
    if epoch:
        assert reason in (run / "train.log").read_text()
        assert not (run / ".reason").exists()


def test_a_quote_in_the_name_of_a_folder_hinders_no_process(comic_root: Path, command: Command, tmp_path: Path) -> None:
    options = (*TINY_AUTOENCODER, *DDP[:3], f"data.root={comic_root}")
    succeeded(command("train", *options, "hydra.run.dir='a \"b\"'"))
    assert read_json(tmp_path / "cwd" / 'a "b"' / "run.json")["device"]["count"] == 2


@pytest.mark.slow
def test_fewer_processes_than_devices_are_refused(comic_root: Path, command: Command) -> None:
    """As under ``srun --ntasks=1``."""
    slurm = {f"SLURM_{name}": "0" for name in ("PROCID", "LOCALID", "NODEID")}
    slurm |= {"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "train", "SLURM_JOB_ID": "1"}
    result = command("train", *TINY_AUTOENCODER, *DDP, f"data.root={comic_root}", **slurm)
    assert result.returncode == 1
    assert "Error: 2 devices were asked for, but there are 1 processes." in result.stderr


@pytest.mark.slow
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


SPAWN = """import multiprocessing, runpy, sys
if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    sys.argv[0] = "image_translation.train"
    runpy.run_module("image_translation.train", run_name="__main__", alter_sys=True)
"""


@pytest.mark.slow
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
