"""The largest batch that fits, by measurement, by option, and in the message of a run that has not enough memory."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import PROJECT, TINY_AUTOENCODER, Command, make_comic_root, succeeded

from image_translation import batch_size
from image_translation.cli.errors import UserError
from image_translation.models import ImageTranslationModule, Pix2Pix, UNetAutoencoder
from image_translation.training.batch_size import BareLoop, chosen_batch, largest_batch, training_peak

CPU = torch.device("cpu")
MIB = 2**20


def make(model: type[ImageTranslationModule], **options: Any) -> Callable[[], ImageTranslationModule]:
    return partial(model, image_size=128, base_channels=16, **options)


class OneDevice:
    """What ``chosen_batch`` asks a trainer for."""

    world_size = 1
    precision = "32-true"
    strategy = type("Strategy", (), {"root_device": CPU})


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a CPU doesn't say how much memory is free")
@pytest.mark.parametrize("model", [Pix2Pix, UNetAutoencoder])
def test_the_answer_fits_and_is_not_far_from_the_largest(
    model: type[ImageTranslationModule], monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 600 * MIB
    monkeypatch.setattr(batch_size, "free_memory", lambda _: free)
    found = largest_batch(make(model), 128, CPU, "32-true")
    assert found is not None
    assert found > 8
    torch.manual_seed(0)
    batch_size._collect()
    base = batch_size._in_use(CPU)
    peak = training_peak(make(model), found, 128, CPU, "32-true")
    assert peak is not None
    assert 0.3 * free < peak - base < free


def test_auto_is_the_largest_that_fits_but_not_more_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer: Any = OneDevice()
    for fits, most, chosen in ((7, 100, 7), (700, 100, 100)):
        monkeypatch.setattr(batch_size, "_largest_batch", lambda *_, fits=fits: fits)
        assert chosen_batch(make(Pix2Pix), 128, trainer, most) == chosen
    monkeypatch.setattr(batch_size, "_largest_batch", lambda *_: 0)
    with pytest.raises(UserError, match=r"^A image of 128×128 does not fit in the memory of cpu\. Try a smaller"):
        chosen_batch(make(Pix2Pix), 128, trainer, 9)
    monkeypatch.setattr(batch_size, "_largest_batch", lambda *_: None)
    with pytest.raises(UserError, match="doesn't say how much memory is free; name a number"):
        chosen_batch(make(Pix2Pix), 128, trainer, 9)
    trainer.world_size = 2
    with pytest.raises(UserError, match="works on one device"):
        chosen_batch(make(Pix2Pix), 128, trainer, 9)


def test_a_step_by_hand_is_a_step_of_training() -> None:
    torch.manual_seed(0)
    model = make(UNetAutoencoder)()
    before = [p.detach().clone() for p in model.parameters()]
    loop = BareLoop(model, CPU, "bf16-mixed")
    batch = loop.random_batch(2, 128)
    losses = [loop.step(batch)["l1"].item() for _ in range(8)]
    assert losses[-1] < losses[0]
    assert all((p != b).any() for p, b in zip(model.parameters(), before, strict=True))
    assert {p.dtype for p in model.parameters()} == {torch.float32}


# On the command line


def test_auto_on_the_command_line(comic_root: Path, command: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = [*TINY_AUTOENCODER, f"data.root={comic_root}", f"hydra.run.dir={run}", "data.batch_size=auto"]
    result = succeeded(command("train", *options))
    assert "data.batch_size=auto: 6" in result.stdout + result.stderr
    assert json.loads((run / "run.json").read_text())["batch_size"] == 6
    succeeded(command("evaluate", f"run={run}", "split=train"))
    # It is the run that the number gives.
    named = [*options[:-2], f"hydra.run.dir={tmp_path / 'named'}", "data.batch_size=6"]
    succeeded(command("train", *named))
    scores = [(folder / "test" / "per_image.csv").read_bytes() for folder in (run, tmp_path / "named")]
    assert scores[0] == scores[1]
    # A run that starts again looks again: that number may be what it failed of.
    manifest = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(manifest | {"status": "failed", "batch_size": 3}))
    shutil.rmtree(run / "checkpoints")
    again = succeeded(command("train", *options, "if_exists=continue"))
    assert "starts again" in again.stderr + again.stdout
    assert "data.batch_size=auto: 6" in again.stderr + again.stdout


def test_auto_for_a_model_that_does_not_train(comic_root: Path, command: Command, tmp_path: Path) -> None:
    options = [*TINY_AUTOENCODER[2:], "model=identity", f"data.root={comic_root}", f"hydra.run.dir={tmp_path / 'run'}"]
    succeeded(command("train", *options, "data.batch_size=auto"))


def test_what_is_reserved_is_left_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_size, "free_memory", lambda _: 1000 * MIB)
    monkeypatch.setattr(batch_size, "_in_use", lambda _: 100 * MIB)
    monkeypatch.setattr(batch_size, "training_peak", lambda _, count, *__: (150 + 10 * count) * MIB)
    # 0.8 · 1000 MiB, of which 50 are for the model, and 10 for each image.
    assert largest_batch(make(Pix2Pix), 64, CPU, "32-true") == 75
    assert largest_batch(make(Pix2Pix), 64, CPU, "32-true", reserved=100 * MIB) == 65


LIMITED = """if True:
    import resource, sys
    import torch
    from image_translation import batch_size, train  # the libraries count for nobody
    torch.rand(8, 8) @ torch.rand(8, 8)
    used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData")) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (used + int(sys.argv.pop(1)) * 2**20, resource.RLIM_INFINITY))
    train.main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of the memory")
def test_a_batch_that_does_not_fit_names_the_largest_that_does(tmp_path: Path) -> None:
    """And that one trains."""
    root = make_comic_root(tmp_path / "pairs", {"train": 24, "val": 1, "test": 1})

    def limited(batch: object, name: str) -> subprocess.CompletedProcess[str]:
        options = ("task=comic", f"data.root={root}", "model=pix2pix", "model.base_channels=16",
                   "data.image_size=256", "data.num_workers=0", "trainer.accelerator=cpu", "trainer.precision=32-true",
                   "trainer.max_epochs=1", "logger=none", "callbacks.panels.panel_every=9", "data.eval_batch_size=1",
                   f"data.batch_size={batch}", f"hydra.run.dir={tmp_path / name}")  # fmt: skip
        return subprocess.run(
            [sys.executable, "-c", LIMITED, "700", *options],
            cwd=tmp_path, env={"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1", "PATH": ""},
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    result = limited(24, "large")
    assert result.returncode == 1, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    message = re.search(
        r"A batch of 24 images of 256×256 does not fit in the memory of cpu; the largest that does, with some room "
        r"left, is data\.batch_size=(\d+)\. Or: model\.gradient_checkpointing=true takes less memory\.", result.stderr,
    )  # fmt: skip
    assert message, result.stderr
    assert json.loads((tmp_path / "large" / "run.json").read_text())["status"] == "failed"
    fits = int(message[1])
    assert 1 <= fits < 24
    result = limited(fits, "fitting")
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.gpu
def test_the_largest_batch_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("cuda")
    torch.cuda.set_per_process_memory_fraction(0.05)
    try:
        total = int(0.05 * torch.cuda.mem_get_info()[1])
        monkeypatch.setattr(batch_size, "free_memory", lambda _: total - torch.cuda.memory_allocated())
        found = largest_batch(make(Pix2Pix), 128, device, "32-true")
        assert found is not None
        assert found > 1
        assert training_peak(make(Pix2Pix), found, 128, device, "32-true") is not None
        assert training_peak(make(Pix2Pix), found * 4, 128, device, "32-true") is None
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
