"""Mistakes on the real command line: each ends with one message, status 1 and no traceback."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY_PIX2PIX, Command


def refused(result: subprocess.CompletedProcess[str], *texts: str) -> None:
    assert result.returncode == 1
    assert result.stderr.count("Error: ") == 1
    assert "Traceback" not in result.stderr
    for text in texts:
        assert text in result.stderr


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-50])


PAIRS: dict[str, Callable[[Path], Any]] = {  # what the message must hold: what was done to the pairs
    "without a partner: train/face/train3.png": lambda root: (root / "train/comics/train3.png").unlink(),
    "without a partner: val/comics/val1.png": lambda root: (root / "val/face/val1.png").unlink(),
    "test/comics/test0.png: cannot be decoded": lambda root: cut(root / "test/comics/test0.png"),
    "split 'val' has no image": lambda root: [path.unlink() for path in (root / "val").rglob("*.png")],
}
OPTIONS = {
    "data.root=/no/such/folder": "data.root=/no/such/folder does not exist",
    "data.batch_size=7": "data.batch_size=7 is more than the 6 training images",
    "model.lambda_l1=many": "model.lambda_l1 must be a finite number, got 'many'",
    "trainer.gradient_clip_val=1": "manual optimization",
    "trainer.limit_test_batches=0": "leaves no image to test",
    "trainer.precision=64-true": "trainer.precision must be one of auto, 32-true, bf16-mixed, 16-mixed; got",
    "trainer.gradient_clip_val=-1": "trainer.gradient_clip_val must be at least 0, got -1",  # would train uphill
    "trainer.accumulate_grad_batches=2.5": "trainer.accumulate_grad_batches must be a whole number, got 2.5",
    "trainer.max_time=3600": "trainer.max_time is written DD:HH:MM:SS",
    "trainer.val_check_interval=50": "`val_check_interval` (50) must be less than or equal to",  # Lightning's
    "protocol=reprot": "protocol must be one of standard, report; got 'reprot'",
    "optimized_metric=test/sim": "optimized_metric must be one of val/mse, ",
    "data.batch_size=auto": "data.batch_size=auto needs exactly one GPU",
    "evaluate=null": "evaluate must be one of train, val, test, all; got None",
    "if_exists=null": "if_exists must be one of refuse, resume; got None",
    "if_exists=continue": "if_exists must be one of refuse, resume; got 'continue'",
} | ({} if torch.cuda.is_available() else {"trainer.accelerator=gpu": "gpu"})


@pytest.mark.parametrize("message", [*PAIRS, *OPTIONS.values()])
def test_one_message_and_nothing_lost(message: str, comic_root: Path, command: Command, tmp_path: Path) -> None:
    PAIRS.get(message, lambda root: root)(comic_root)
    options = [option for option, expected in OPTIONS.items() if expected == message]
    before = sorted(comic_root.rglob("*"))
    result = command("train", *TINY_PIX2PIX, f"data.root={comic_root}", *options, f"hydra.run.dir={tmp_path / 'run'}")
    refused(result, *message.split(": ", 1))
    assert sorted(comic_root.rglob("*")) == before
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("arguments", "message"), [
    # Names that are nearly right.
    ("train task=comik", "unknown task 'comik'; there are coloring, comic, facades, inpaint, monet, sketch, superres. "
                         "Did you mean 'comic'?"),
    ("train modl=pix2pix", "unknown option 'modl'. Did you mean 'model'"),
    ("train optimizer.lr=1", "unknown option 'optimizer.lr'. Did you mean 'model.optimizer.lr'"),
    ("evaluate run=nowhere splt=val", "Did you mean 'split'"),
    # Values that are missing, or none.
    ("train data.root=~/pairs", "'data.root=~/pairs' cannot be read"),
    ("compare runs=[ä,b]", """Quote unusual values: 'runs=["ä",b]'\n"""),
    ("train -m data.root=ä,b", """Quote unusual values: 'data.root="ä",b'\n"""),
    ("download", "name is not set: name=…"),
    ("check output=${nope}", "output: Interpolation key 'nope' not found"),
    ("compare runs=[???]", "Missing value at index 0"),
    ("compare reference=5", "Config group override must be a string or a list. Got int"),
    ("compare ~wandb", "wandb: Key 'wandb' is not in struct"),
    # Runs that there are not.
    ("train resume=nowhere", "nowhere is not a run folder: it has no readable run.json"),
    ("train resume=last", "resume=last: no run in outputs or multirun was stopped. Name its folder: resume=…"),
    ("evaluate run=5", "5 is not a run folder"),
    ("evaluate run=null", "run must be the name of a folder"),
    ("export run=nowhere output=a.pt", "output must end in .safetensors, got a.pt"),
    ("export run=nowhere", "nowhere"),
])  # fmt: skip
def test_what_cannot_be_done_is_said_in_one_line(arguments: str, message: str, command: Command) -> None:
    result = command(*arguments.split())
    refused(result, message)
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("option", ["data.root=/no/such/folder", "data.root=???", "data.rot=x"])
def test_the_traceback_is_there_for_those_who_ask(option: str, command: Command, tmp_path: Path) -> None:
    arguments = ["train", *TINY_PIX2PIX, option, f"hydra.run.dir={tmp_path / 'run'}"]
    without, result = command(*arguments), command(*arguments, "debug=true")
    assert without.returncode == result.returncode == 1
    assert "Traceback" not in without.stderr
    assert "Traceback" in result.stderr


def test_an_output_folder_that_cannot_be_written(comic_root: Path, command: Command, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    refused(command("train", *TINY_PIX2PIX, f"data.root={comic_root}", f"hydra.run.dir={file / 'run'}"), str(file))
    assert file.read_text() == "in the way"


def test_what_cannot_be_evaluated_or_exported(finished_run: Path, command: Command, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    best, new, there = run / "checkpoints" / "best.ckpt", tmp_path / "new.safetensors", tmp_path / "there.safetensors"
    results = (run / "test" / "metrics.json").read_bytes()
    there.write_text("mine")
    precision = "trainer.precision must be one of auto, 32-true, bf16-mixed, 16-mixed; got 'abc'"
    evaluate, export = ["evaluate", f"run={run}", "trainer.accelerator=cpu"], ["export", f"run={run}"]
    refused(command(*evaluate, "trainer.devices=abc"), "devices")
    refused(command(*evaluate, "trainer.precision=abc"), precision)
    refused(
        command(*evaluate, "perceptual=lpip"),
        "perceptual must be one of sharpness, msssim, vif, lpips, fid, kid; got 'lpip'",
    )
    refused(command(*export, f"output={there}"), "exists, and nothing is overwritten")
    cut(best)
    refused(command(*evaluate), "best.ckpt: damaged")
    refused(command(*export, f"output={new}"), "best.ckpt: damaged")
    best.unlink()
    refused(command(*evaluate), "has no best checkpoint yet")
    assert (run / "test" / "metrics.json").read_bytes() == results
    assert there.read_text() == "mine"
    assert not new.exists()
