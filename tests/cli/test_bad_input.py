"""Mistakes on the real command line: each ends with one message, status 1 and no traceback."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import TINY_PIX2PIX, Command, image


def orphan_input(root: Path) -> None:
    (root / "train" / "comics" / "train3.png").unlink()


def orphan_target(root: Path) -> None:
    (root / "val" / "face" / "val1.png").unlink()


def one_stem_twice(root: Path) -> None:
    image(1).save(root / "train" / "face" / "train3.jpg")


def truncated_png(root: Path) -> None:
    path = root / "test" / "comics" / "test0.png"
    path.write_bytes(path.read_bytes()[:-50])


def text_named_jpg(root: Path) -> None:
    (root / "train" / "face" / "train3.png").unlink()
    (root / "train" / "face" / "train3.jpg").write_text("hello")


def halves_of_different_size(root: Path) -> None:
    image(1, (40, 32)).save(root / "train" / "face" / "train3.png")


def no_images(root: Path) -> None:
    for path in root.rglob("*.png"):
        path.unlink()


def empty_split(root: Path) -> None:
    for path in (root / "val").rglob("*.png"):
        path.unlink()


def nothing(root: Path) -> None:
    pass


CASES: dict[str, tuple[Callable[[Path], None], list[str], list[str]]] = {
    # what is done to the pairs, further arguments, what the message must hold
    "missing root": (nothing, ["data.root=/no/such/folder"], ["data.root=/no/such/folder does not exist"]),
    "no images": (no_images, [], ["No images", "train/face"]),
    "orphan input": (orphan_input, [], ["without a partner", "train/face/train3.png"]),
    "orphan target": (orphan_target, [], ["without a partner", "val/comics/val1.png"]),
    "one stem twice": (one_stem_twice, [], ["train3.jpg, train3.png"]),
    "truncated png": (truncated_png, [], ["test/comics/test0.png: cannot be decoded"]),
    "text named jpg": (text_named_jpg, [], ["train/face/train3.jpg: not an image"]),
    "different size": (halves_of_different_size, [], ["train3.png is 40×32", "is 64×64"]),
    "too few images": (nothing, ["data.batch_size=7"], ["data.batch_size=7 is more than the 6 training images"]),
    "empty split": (empty_split, [], ["split 'val' has no image"]),
    "a word for a number": (nothing, ["model.lambda_l1=many"], ["model.lambda_l1 must be a finite number, got 'many'"]),
    "batch of zero": (nothing, ["data.batch_size=0"], ["data.batch_size must be at least 1, got 0"]),
    "odd image size": (nothing, ["data.image_size=100"], ["power of two", "got 100"]),
    "Lightning's clipping": (nothing, ["trainer.gradient_clip_val=1"], ["gradient_clip_val", "manual optimization"]),
    "nothing to test": (nothing, ["trainer.limit_test_batches=0"], ["leaves no image to test"]),
    "negative seed": (nothing, ["seed=-1"], ["seed must be a whole number from 0", "got -1"]),
    "unknown split": (nothing, ["evaluate=[test,trian]"], ["split must be one of train, val, test", "'trian'"]),
    "unknown protocol": (nothing, ["protocol=reprot"], ["protocol must be one of standard, report; got 'reprot'"]),
    "unknown policy": (nothing, ["if_exists=continue"], ["if_exists must be one of refuse, resume; got 'continue'"]),
    "unknown precision": (nothing, ["trainer.precision=7-bit"], ["trainer.precision must be one of", "'7-bit'"]),
}


@pytest.mark.parametrize("case", CASES)
def test_one_message_and_nothing_lost(case: str, comic_root: Path, command: Command, tmp_path: Path) -> None:
    spoil, arguments, expected = CASES[case]
    spoil(comic_root)
    before = sorted(comic_root.rglob("*"))
    result = command("train", *TINY_PIX2PIX, f"data.root={comic_root}", *arguments, f"hydra.run.dir={tmp_path / 'run'}")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert result.stderr.count("Error") == 1
    for part in expected:
        assert part in result.stderr
    assert sorted(comic_root.rglob("*")) == before
    assert not (tmp_path / "run" / "checkpoints" / "best.ckpt").exists()
    log = (tmp_path / "run" / "train.log").read_text()
    assert expected[0] in log
    assert "Traceback" in log  # for whoever looks into it later


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


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu(comic_root: Path, command: Command, tmp_path: Path) -> None:
    options = [option for option in TINY_PIX2PIX if option != "trainer.accelerator=cpu"]
    result = command("train", *options, "trainer=gpu", f"data.root={comic_root}", f"hydra.run.dir={tmp_path / 'run'}")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "gpu" in result.stderr


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
    best.write_bytes(best.read_bytes()[:5000])
    assert "best.ckpt: damaged" in refused("evaluate")
    assert "best.ckpt: damaged" in refused("export", f"output={tmp_path / 'new.safetensors'}")
    best.unlink()
    assert "has no best checkpoint yet" in refused("evaluate")
