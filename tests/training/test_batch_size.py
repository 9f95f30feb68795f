"""The search for a batch size, and the hint after running out of memory."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from conftest import PROJECT, TINY_PIX2PIX, make_comic_root
from helpers.training import NAMES, make_data, make_model, make_trainer
from pytorch_lightning.callbacks import LambdaCallback
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from image_translation.cli.errors import UserError
from image_translation.training.batch_size import find_batch_size, out_of_memory_hint, scale_batch_size

OUT_OF_MEMORY = "CUDA out of memory. Tried to allocate 2.00 GiB."
HINT = "Try a smaller data.batch_size, model.gradient_checkpointing=true or a smaller data.image_size"


def limit_memory(model: Any, room: int) -> Any:
    """Let a model run out of memory on batches of more images than ``room``."""

    def check(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if len(inputs[0]) > room:
            raise torch.OutOfMemoryError(OUT_OF_MEMORY)

    model.generator.register_forward_pre_hook(check)
    return model


@pytest.mark.parametrize("name", NAMES)
def test_training_after_a_search_is_training_without_one(name: str, comic_root: Path, tmp_path: Path) -> None:
    def train(search: bool) -> tuple[Any, pl.Trainer, list[float]]:
        pl.seed_everything(0, verbose=False)
        folder, setups, model = tmp_path / "root", list[str](), limit_memory(make_model(name), room=3)
        folder.mkdir(exist_ok=True)
        listener = LambdaCallback(setup=lambda *_, **__: setups.append("setup"))
        trainer = make_trainer(max_epochs=2, callbacks=[listener], default_root_dir=folder)
        data = make_data(comic_root, batch_size="auto" if search else 2)
        if search:
            assert scale_batch_size(trainer, model, data) == data.batch_size == 2
            assert (setups, list(folder.iterdir())) == ([], [])
        draws = [torch.rand(1).item(), np.random.rand(), random.random()]
        trainer.fit(model, datamodule=data)
        assert setups == ["setup"]
        return model, trainer, draws

    (found, searching, draws), (named, plain, expected) = train(search=True), train(search=False)
    assert draws == expected
    assert (searching.global_step, searching.current_epoch) == (plain.global_step, plain.current_epoch) == (6, 2)
    assert all(torch.equal(one, other) for one, other in zip(found.parameters(), named.parameters(), strict=True))


@pytest.mark.parametrize(("images", "room", "size"), [(16, 12, 8), (9, 9, 8), (1, 9, 1)])
def test_the_size_fits_and_is_at_most_the_number_of_images(images: int, room: int, size: int, tmp_path: Path) -> None:
    data = make_data(make_comic_root(tmp_path / "pairs", {"train": images, "val": 1, "test": 1}), batch_size="auto")
    trainer = make_trainer(default_root_dir=tmp_path)
    assert scale_batch_size(trainer, limit_memory(make_model("autoencoder"), room), data) == size


def test_where_one_image_does_not_fit_the_hint_says_so(comic_root: Path, tmp_path: Path) -> None:
    message = r"data\.batch_size=1 and data\.image_size=64 does not fit in memory"
    model, data = limit_memory(make_model("autoencoder"), room=0), make_data(comic_root, batch_size="auto")
    with pytest.raises(UserError, match=message), out_of_memory_hint(1, data.image_size):
        scale_batch_size(make_trainer(default_root_dir=tmp_path), model, data)


def test_a_search_needs_one_gpu(comic_root: Path) -> None:
    with pytest.raises(UserError, match=r"needs exactly one GPU\. Give a number instead, as in data\.batch_size=8"):
        find_batch_size(make_trainer(), make_model("autoencoder"), make_data(comic_root))


@pytest.mark.gpu
def test_a_search_on_a_gpu(tmp_path: Path) -> None:
    """The size that is found trains, and twice as many images don't."""
    data = make_data(make_comic_root(tmp_path / "pairs", {"train": 64, "val": 1, "test": 1}), batch_size="auto")

    def allocate(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        torch.empty(len(inputs[0]) * 2**24, dtype=torch.uint8, device=inputs[0].device)  # 16 MiB for each image

    def large() -> Any:
        model = make_model("autoencoder")
        model.generator.register_forward_pre_hook(allocate)
        return model

    options: Any = {"accelerator": "gpu", "devices": 1, "max_steps": 2, "default_root_dir": tmp_path}
    torch.cuda.set_per_process_memory_fraction(2**29 / torch.cuda.get_device_properties(0).total_memory)
    try:
        trainer = make_trainer(**options)
        found = find_batch_size(trainer, large(), data)
        assert 1 < found < 32
        trainer.fit(large(), datamodule=data)
        data.batch_size = 2 * found
        message = rf"data\.batch_size={2 * found} and .* does not fit"
        with pytest.raises(UserError, match=message), out_of_memory_hint(2 * found, 64):
            make_trainer(**options).fit(large(), datamodule=data)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.parametrize("error", [
    torch.OutOfMemoryError(OUT_OF_MEMORY), MemoryError(), RuntimeError("could not create a primitive"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:119] err == 0. DefaultCPUAllocator: can't allocate memory: …"),
], ids=["cuda", "python", "onednn", "cpu"])  # fmt: skip
def test_out_of_memory_errors_become_a_hint(error: Exception) -> None:
    message = r"batch_size=24 and data\.image_size=256 .*" + HINT
    with pytest.raises(UserError, match=message), out_of_memory_hint(24, 256):
        raise error
    with pytest.raises(UserError, match=message), out_of_memory_hint(24, 256):
        fail_while_handling(error)


class Deadly(Dataset[Tensor]):
    """Images that end the process that reads them, as a system without memory does."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Tensor:
        os.kill(os.getpid(), signal.SIGKILL)
        return torch.zeros(1)


def test_a_process_that_loads_images_and_is_killed_becomes_a_hint() -> None:
    message = r"^A process that loads images ended: DataLoader worker .* Set data\.num_workers=0"
    with pytest.raises(UserError, match=message), out_of_memory_hint(2, 64):
        list(DataLoader(Deadly(), num_workers=1))


def fail_while_handling(error: Exception) -> None:
    try:
        raise error
    finally:
        raise RuntimeError("no checkpoint")


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="no checkpoint"), out_of_memory_hint(24, 256):
        fail_while_handling(KeyError("first"))


LIMITED = """if True:
    import resource
    import torch
    from image_translation import train
    torch.rand(8, 8) @ torch.rand(8, 8)
    used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData")) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (used + 350 * 2**20, resource.RLIM_INFINITY))
    train.main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of the memory")
def test_a_run_that_needs_too_much_memory_ends_with_the_hint(tmp_path: Path) -> None:
    root = make_comic_root(tmp_path / "pairs", {"train": 24, "val": 1, "test": 1})
    options = [*TINY_PIX2PIX, "model.base_channels=16", "data.image_size=256", "data.batch_size=24",
               "data.eval_batch_size=1", "trainer.precision=32-true", f"data.root={root}"]  # fmt: skip
    environment = {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1", "PATH": ""}
    result = subprocess.run([sys.executable, "-c", LIMITED, *options, "hydra.run.dir=run"], cwd=tmp_path,
                            env=environment, capture_output=True, text=True, timeout=300, check=False)  # fmt: skip
    assert result.returncode == 1, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    assert f"data.batch_size=24 and data.image_size=256 does not fit in memory. {HINT}" in result.stderr
    assert not (tmp_path / "run").exists()
