"""Mistakes on the real command line: each ends with one message, status 1 and no traceback."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import TINY_AUTOENCODER, TINY_PIX2PIX, Command, image, make_comic_root, succeeded

from image_translation.models import Pix2Pix


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
    "text named jpg": (text_named_jpg, [], ["train/face/train3.jpg: not a image"]),
    "different size": (halves_of_different_size, [], ["train3.png is 40×32", "is 64×64"]),
    "too few images": (nothing, ["data.batch_size=7"], ["data.batch_size=7 is more than the 6 training images"]),
    "empty split": (empty_split, [], ["split 'val' has no image"]),
    "negative learning rate": (
        nothing,
        ["model.learning_rate=-1"],
        ["model.learning_rate must be greater than 0, got -1"],
    ),
    "batch of zero": (nothing, ["data.batch_size=0"], ["data.batch_size must be at least 1, got 0"]),
    "a batch and a half": (nothing, ["data.batch_size=1.5"], ["data.batch_size must be a whole number, got 1.5"]),
    "infinite learning rate": (nothing, ["model.learning_rate=.inf"], ["model.learning_rate must be a finite number"]),
    "jitter that is no choice": (nothing, ["data.jitter=maybe"], ["data.jitter must be one of True, False"]),
    "no color": (nothing, ["data.background=whyte"], ["data.background must be a color", "got 'whyte'"]),
    "diverged": (nothing, ["model.learning_rate=1e30"], ["Training has diverged at step 1"]),
    "Lightning's clipping": (nothing, ["+trainer.gradient_clip_val=1"], ["use model.gradient_clip_val"]),
    "nothing to test": (nothing, ["trainer.limit_test_batches=0"], ["leaves no image to test"]),
    "odd image size": (nothing, ["data.image_size=100"], ["power of two", "got 100"]),
    "a word for a number": (nothing, ["model.learning_rate=fast"], ["fast"]),
    "negative seed": (nothing, ["seed=-1"], ["seed must be a whole number from 0", "got -1"]),
    "unknown split": (nothing, ["evaluate=[test,trian]"], ["evaluate must be one of train, val, test; got 'trian'"]),
    "unknown protocol": (nothing, ["protocol=reprot"], ["protocol must be one of standard, report; got 'reprot'"]),
    "unknown policy": (nothing, ["if_exists=resume"], ["if_exists must be one of refuse, continue; got 'resume'"]),
    "unknown precision": (nothing, ["trainer.precision=7-bit"], ["7-bit"]),
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


def test_nothing_to_resume(command: Command, tmp_path: Path) -> None:
    command("train", *TINY_PIX2PIX, "data.root=/no/such/folder", f"hydra.run.dir={tmp_path / 'run'}")
    for arguments, expected in {
        ("resume=nowhere",): "resume=nowhere is not a run folder: it has no run.json.",
        ("resume=last",): "resume=last: no run in outputs or multirun was stopped. Name its folder: resume=…",
        (f"resume={tmp_path / 'run'}", "hydra.run.dir=there"): "hydra.run.dir and resume both name the run's folder",
        (f"resume={tmp_path / 'run'}",): "data.root=/no/such/folder does not exist",
        ("-m", f"resume={tmp_path / 'run'}", "seed=0,1"): "resume goes on with one run",
    }.items():
        result = command("train", *arguments)
        assert result.returncode == 1
        assert expected in result.stderr
        assert "Traceback" not in result.stderr


def test_evaluate_of_a_run_that_failed_early(command: Command, tmp_path: Path) -> None:
    command("train", *TINY_PIX2PIX, "data.root=/no/such/folder", f"hydra.run.dir={tmp_path / 'run'}")
    result = command("evaluate", f"run={tmp_path / 'run'}")
    assert result.returncode == 1
    assert "failed before it had read its pairs" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_folder_with_images_is_not_taken_for_a_run(comic_root: Path, command: Command) -> None:
    before = sorted(comic_root.rglob("*"))
    result = command("train", *TINY_PIX2PIX, f"data.root={comic_root}", f"hydra.run.dir={comic_root}")
    assert result.returncode == 1
    assert "is not empty, and nothing is overwritten" in result.stderr
    assert [path for path in sorted(comic_root.rglob("*")) if path.suffix != ".log"] == before


def test_the_traceback_is_there_for_those_who_ask(command: Command, tmp_path: Path) -> None:
    result = command(
        "train", *TINY_PIX2PIX, "data.root=/no/such/folder", "debug=true", f"hydra.run.dir={tmp_path / 'run'}"
    )
    assert result.returncode == 1
    assert "Traceback" in result.stderr


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
    assert "trainer=cpu" in result.stderr


def test_checkpoints_that_evaluate_cannot_take(command: Command, tmp_path: Path) -> None:
    root, run = make_comic_root(tmp_path / "pairs"), tmp_path / "run"
    succeeded(command("train", *TINY_AUTOENCODER, f"data.root={root}", f"hydra.run.dir={run}"))
    best = run / "checkpoints" / "best.ckpt"
    good = best.read_bytes()
    results = (run / "test" / "metrics.json").read_bytes()

    def message(content: bytes) -> str:
        best.write_bytes(content)
        result = command("evaluate", f"run={run}")
        assert result.returncode == 1
        assert "Traceback" not in result.stderr
        assert (run / "test" / "metrics.json").read_bytes() == results
        return result.stderr

    for option, expected in {
        "trainer.devices=abc": "`devices` selected with `CPUAccelerator` should be an int",
        "trainer.precision=abc": "Precision 'abc' is invalid",
        "perceptual=lpip": "perceptual must be one of lpips, fid, kid; got 'lpip'",
        "perceptual=5": "perceptual must be one of lpips, fid, kid; got 5",
        "output=[a]": "output must be the name of a folder, got ['a']",
    }.items():
        refused = command("evaluate", f"run={run}", "trainer.accelerator=cpu", option)
        assert (refused.returncode, expected in refused.stderr) == (1, True), refused.stderr
        assert "Traceback" not in refused.stderr
    assert "damaged" in message(good[: len(good) // 2])
    model = Pix2Pix(image_size=32, base_channels=2)
    content = {"image_translation": {"model": "Pix2Pix"}, "hyper_parameters": dict(model.hparams)}
    other = tmp_path / "other.ckpt"
    torch.save(content | {"state_dict": model.state_dict()}, other)
    assert "is of a Pix2Pix, but the run trained a UNetAutoencoder" in message(other.read_bytes())
    torch.save(content | {"state_dict": Path}, other)
    assert "refused" in message(other.read_bytes())
    best.unlink()
    assert "no such checkpoint" in command("evaluate", f"run={run}").stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "run is not set"),
        (["run=nowhere"], "run=nowhere is not a run folder"),
        (["run=nowhere", "splt=val"], "Did you mean 'split'"),
        (["run=5"], "run=5 is not a run folder"),
        (["run=null"], "run must be the name of a folder, got None"),
    ],
)
def test_evaluate_without_a_run(arguments: list[str], message: str, command: Command) -> None:
    result = command("evaluate", *arguments)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
