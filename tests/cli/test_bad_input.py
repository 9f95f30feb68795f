"""Mistakes on the real command line: each ends with one message, status 1 and no traceback."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY_PIX2PIX, Command, image


def replace(file: Path, name: str, text: str) -> None:
    file.unlink()
    file.with_name(name).write_text(text)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-50])


def remove_images(folder: Path) -> None:
    for path in folder.rglob("*.png"):
        path.unlink()


PAIRS: dict[str, Callable[[Path], Any]] = {  # what the message must hold: what was done to the pairs
    "No images": remove_images,
    "without a partner: train/face/train3.png": lambda root: (root / "train/comics/train3.png").unlink(),
    "without a partner: val/comics/val1.png": lambda root: (root / "val/face/val1.png").unlink(),
    "train3.jpg, train3.png": lambda root: image(1).save(root / "train/face/train3.jpg"),
    "test/comics/test0.png: cannot be decoded": lambda root: cut(root / "test/comics/test0.png"),
    "train3.jpg: not an image": lambda root: replace(root / "train/face/train3.png", "train3.jpg", "hello"),
    "train3.png is 40×32": lambda root: image(1, (40, 32)).save(root / "train/face/train3.png"),
    "split 'val' has no image": lambda root: remove_images(root / "val"),
}
OPTIONS = {
    "data.root=/no/such/folder": "data.root=/no/such/folder does not exist",
    "data.batch_size=7": "data.batch_size=7 is more than the 6 training images",
    "data.batch_size=0": "data.batch_size must be at least 1, got 0",
    "data.image_size=100": "power of two",
    "model.lambda_l1=many": "model.lambda_l1 must be a finite number, got 'many'",
    "trainer.gradient_clip_val=1": "manual optimization",
    "trainer.limit_test_batches=0": "leaves no image to test",
    "trainer.precision=7-bit": "trainer.precision must be one of",
    "seed=-1": "seed must be a whole number from 0",
    "evaluate=[test,trian]": "split must be one of train, val, test",
    "protocol=reprot": "protocol must be one of standard, report; got 'reprot'",
    "if_exists=continue": "if_exists must be one of refuse, resume; got 'continue'",
} | ({} if torch.cuda.is_available() else {"trainer.accelerator=gpu": "gpu"})


@pytest.mark.parametrize("message", [*PAIRS, *OPTIONS.values()])
def test_one_message_and_nothing_lost(message: str, comic_root: Path, command: Command, tmp_path: Path) -> None:
    PAIRS.get(message, lambda root: root)(comic_root)
    options = [option for option, expected in OPTIONS.items() if expected == message]
    before = sorted(comic_root.rglob("*"))
    result = command("train", *TINY_PIX2PIX, f"data.root={comic_root}", *options, f"hydra.run.dir={tmp_path / 'run'}")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert result.stderr.count("Error") == 1
    log = (tmp_path / "run" / "train.log").read_text()
    for text in (result.stderr, log):
        assert all(part in text for part in message.split(": ", 1))
    assert "Traceback" in log  # for whoever looks into it later
    assert sorted(comic_root.rglob("*")) == before
    assert not (tmp_path / "run" / "checkpoints" / "best.ckpt").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train resume=nowhere", "nowhere is not a run folder: it has no readable run.json"),
        ("train resume=last", "resume=last: no run in outputs or multirun was stopped. Name its folder: resume=…"),
        ("train resume={run}", "data.root=/no/such/folder does not exist"),
        ("evaluate run={run}", "this run is failed and has no best checkpoint yet. Resume it first:"),
        ("evaluate", "run is not set"),
        ("evaluate run=nowhere", "nowhere is not a run folder"),
        ("evaluate run=5", "5 is not a run folder"),
        ("evaluate run=null", "run must be the name of a folder"),
        ("evaluate run=nowhere splt=val", "Did you mean 'split'"),
        ("export", "run is not set"),
        ("export run=nowhere output=a.pt", "output must end in .safetensors, got a.pt"),
        ("export run=nowhere", "nowhere"),
    ],
)
def test_no_run(arguments: str, message: str, command: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command("train", *TINY_PIX2PIX, "data.root=/no/such/folder", f"hydra.run.dir={run}")
    result = command(*arguments.format(run=run).split())
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("option", ["data.root=/no/such/folder", "data.root=???", "data.rot=x"])
def test_the_traceback_is_there_for_those_who_ask(option: str, command: Command, tmp_path: Path) -> None:
    arguments = ["train", *TINY_PIX2PIX, option, f"hydra.run.dir={tmp_path / 'run'}"]
    without, result = command(*arguments), command(*arguments, "debug=true")
    assert without.returncode == result.returncode == 1
    assert "Traceback" not in without.stderr
    assert "Traceback" in result.stderr


def test_a_folder_with_images_is_not_taken_for_a_run(comic_root: Path, command: Command) -> None:
    before = sorted(path for path in comic_root.rglob("*"))
    result = command("train", *TINY_PIX2PIX, f"data.root={comic_root}", f"hydra.run.dir={comic_root}")
    assert result.returncode == 1
    assert "is not empty, and nothing is overwritten" in result.stderr
    assert [path for path in sorted(comic_root.rglob("*")) if path.name not in ("train.log", ".lock")] == before


def test_an_output_folder_that_cannot_be_written(comic_root: Path, command: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    result = command("train", *TINY_PIX2PIX, f"data.root={comic_root}", f"hydra.run.dir={tmp_path / 'file' / 'run'}")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert str(tmp_path / "file") in result.stderr
    assert (tmp_path / "file").read_text() == "in the way"


def test_what_cannot_be_evaluated_or_exported(finished_run: Path, command: Command, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    results, file = (run / "test" / "metrics.json").read_bytes(), tmp_path / "there.safetensors"
    file.write_text("mine")

    def refused(*arguments: str) -> str:
        result = command(arguments[0], f"run={run}", *arguments[1:])
        assert result.returncode == 1
        assert "Traceback" not in result.stderr
        assert (run / "test" / "metrics.json").read_bytes() == results
        return result.stderr

    for option, expected in {
        "trainer.devices=abc": "devices",
        "trainer.precision=abc": "trainer.precision must be one of 32-true, bf16-mixed, 16-mixed; got 'abc'",
        "perceptual=lpip": "perceptual must be one of lpips, fid, kid; got 'lpip'",
    }.items():
        assert expected in refused("evaluate", "trainer.accelerator=cpu", option)
    assert "exists, and nothing is overwritten" in refused("export", f"output={file}")
    assert file.read_text() == "mine"
    best = run / "checkpoints" / "best.ckpt"
    cut(best)
    assert "best.ckpt: damaged" in refused("evaluate")
    assert "best.ckpt: damaged" in refused("export", f"output={tmp_path / 'new.safetensors'}")
    best.unlink()
    assert "has no best checkpoint yet" in refused("evaluate")
