"""The search for a batch size, and the hint after running out of memory."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import PROJECT, make_comic_root
from pytorch_lightning import LightningDataModule, LightningModule, Trainer, seed_everything
from pytorch_lightning.callbacks import LambdaCallback
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from image_translation.cli.errors import UserError
from image_translation.training.batch_size import find_batch_size, out_of_memory_hint, scale_batch_size

OUT_OF_MEMORY = "CUDA out of memory. Tried to allocate 2.00 GiB."
HINT = "Try a smaller data.batch_size, model.gradient_checkpointing=true or a smaller data.image_size"


class Data(LightningDataModule):
    """Random vectors, shuffled."""

    def __init__(self, images: int = 12, size: int = 4, batch_size: int | str = "auto") -> None:
        super().__init__()
        self.batch_size, self.image_size = batch_size, size
        self.datasets = {"train": TensorDataset(torch.rand(images, size, generator=torch.Generator().manual_seed(0)))}

    def train_dataloader(self) -> DataLoader[Any]:
        assert isinstance(self.batch_size, int)
        return DataLoader(self.datasets["train"], self.batch_size, shuffle=True)


class Automatic(LightningModule):
    """Runs out of memory on batches of more than ``room``."""

    def __init__(self, room: int = 1000, size: int = 4) -> None:
        super().__init__()
        self.layer, self.dropout, self.room = nn.Linear(size, size), nn.Dropout(), room
        self.batches: list[int] = []  # that were trained on

    def loss(self, batch: list[Tensor]) -> Tensor:
        self.batches.append(len(batch[0]))
        if len(batch[0]) > self.room:
            raise torch.OutOfMemoryError(OUT_OF_MEMORY)
        return self.dropout(self.layer(batch[0])).square().mean()

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self.loss(batch)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.1)
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)}


class Manual(Automatic):
    automatic_optimization = False

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:  # type: ignore[override]
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(self.loss(batch))
        optimizer.step()


def trainer_in(folder: Path, **options: Any) -> Trainer:
    return Trainer(
        default_root_dir=folder, max_epochs=2, logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, **{"accelerator": "cpu"} | options,
    )  # fmt: skip


@pytest.mark.parametrize("kind", [Automatic, Manual])
def test_training_after_a_search_is_training_without_one(kind: type[Automatic], tmp_path: Path) -> None:
    def train(search: bool) -> tuple[Automatic, Trainer, list[float]]:
        seed_everything(0, verbose=False)
        model, setups = kind(room=5), list[str]()
        listener = LambdaCallback(setup=lambda *_, **__: setups.append("setup"))
        trainer, data = trainer_in(tmp_path, callbacks=[listener]), Data(batch_size="auto" if search else 4)
        if search:
            assert scale_batch_size(trainer, model, data) == data.batch_size == 4
            assert (model.batches, setups, list(tmp_path.iterdir())) == ([], [], [])
        draws = [random.random(), np.random.rand()]
        trainer.fit(model, datamodule=data)  # with dropout and shuffling
        assert setups == ["setup"]
        return model, trainer, draws

    (found, searching, draws), (named, plain, expected) = train(search=True), train(search=False)
    assert draws == expected
    assert found.batches == named.batches == [4] * 6
    assert (searching.global_step, searching.current_epoch) == (plain.global_step, plain.current_epoch) == (6, 2)
    for key, weight in named.state_dict().items():
        assert torch.equal(found.state_dict()[key], weight)


@pytest.mark.parametrize(("images", "room", "size"), [(16, 12, 8), (9, 9, 8), (1, 9, 1)])
def test_the_size_fits_and_is_at_most_the_number_of_images(images: int, room: int, size: int, tmp_path: Path) -> None:
    assert scale_batch_size(trainer_in(tmp_path), Automatic(room), Data(images)) == size


def test_where_one_image_does_not_fit_the_hint_says_so(tmp_path: Path) -> None:
    message = r"data\.batch_size=1 and data\.image_size=4 does not fit in memory"
    with pytest.raises(UserError, match=message), out_of_memory_hint(1, 4):
        scale_batch_size(trainer_in(tmp_path), Automatic(room=0), Data())


@pytest.mark.parametrize("devices", [1, 2])
def test_a_search_needs_one_gpu(devices: int, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"needs exactly one GPU\. Give a number instead, as in data\.batch_size=8"):
        find_batch_size(trainer_in(tmp_path, devices=devices), Automatic(), Data())


@pytest.mark.gpu
def test_a_search_on_a_gpu(tmp_path: Path) -> None:
    """The size that is found trains, and twice as many images don't."""
    size, total = 2**18, torch.cuda.get_device_properties(0).total_memory

    class Large(Automatic):
        def __init__(self) -> None:
            super().__init__(size=1)

        def loss(self, batch: list[Tensor]) -> Tensor:
            return self.layer(batch[0].unsqueeze(-1)).exp().square().mean()  # some MiB for each image

    torch.cuda.set_per_process_memory_fraction(2**29 / total)
    try:
        data, trainer = Data(512, size), trainer_in(tmp_path, accelerator="gpu", devices=1, max_steps=2)
        found = find_batch_size(trainer, Large(), data)
        assert 1 < found < 256
        trainer.fit(Large(), datamodule=data)
        data.batch_size *= 2
        message = rf"data\.batch_size={2 * found} and .* does not fit"
        with pytest.raises(UserError, match=message), out_of_memory_hint(2 * found, size):
            trainer_in(tmp_path, accelerator="gpu", devices=1).fit(Large(), datamodule=data)
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
    resource.setrlimit(resource.RLIMIT_DATA, (used + 300 * 2**20, resource.RLIM_INFINITY))
    train.main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of the memory")
def test_a_run_that_needs_too_much_memory_ends_with_the_hint(tmp_path: Path) -> None:
    root = make_comic_root(tmp_path / "pairs", {"train": 8, "val": 1, "test": 1})
    options = ("task=comic", f"data.root={root}", "model=pix2pix", "model.base_channels=16", "data.image_size=256",
               "data.batch_size=8", "data.eval_batch_size=1", "data.num_workers=0", "logger=none",
               "trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.max_epochs=1",
               f"hydra.run.dir={tmp_path / 'run'}")  # fmt: skip
    result = subprocess.run(
        [sys.executable, "-c", LIMITED, *options],
        cwd=tmp_path, env={"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1", "PATH": ""},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert result.returncode == 1, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    assert f"data.batch_size=8 and data.image_size=256 does not fit in memory. {HINT}" in result.stderr
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "failed"
