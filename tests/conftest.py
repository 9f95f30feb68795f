"""Images, folders of pairs, and the real command line."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.forked import run_module
from PIL import Image

PROJECT = Path(__file__).parents[1]
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs, the tests maybe, ignore it
sys.path[:0] = [str(Path(__file__).parent), str(PROJECT)]  # for the tests' own modules, and for benchmarks
REAL_DATA = PROJECT.parent / "shared" / "data"
ENVIRONMENT = {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
SIZE = 64  # the smallest at which both networks have all their kinds of layer

# Settings under which a run takes seconds.
TINY = (
    f"data.image_size={SIZE}", "data.batch_size=2", "data.num_workers=0", "trainer.accelerator=cpu",
    "trainer.max_epochs=1", "logger=none",
)  # fmt: skip
TINY_PIX2PIX = ("model=pix2pix", "model.base_channels=4", *TINY)
TINY_AUTOENCODER = ("model=autoencoder", "model.base_channels=4", *TINY)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
        if item.get_closest_marker("realdata") and not REAL_DATA.is_dir():
            item.add_marker(pytest.mark.skip(reason="needs ../shared/data"))


@pytest.fixture(autouse=True)
def _own_surroundings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No W&B account, one thread, and an own cache, whatever the machine has."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "PL_GLOBAL_SEED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", os.devnull)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("COLUMNS", "200")


def image(seed: int, size: tuple[int, int] = (SIZE, SIZE)) -> Image.Image:
    """A smooth color image (width, height), another one for every seed."""
    noise = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def comic_of(source: Image.Image) -> Image.Image:
    """Something that a network can learn from ``source``: its negative with the channels swapped."""
    return Image.fromarray(255 - np.asarray(source)[..., ::-1])


@pytest.fixture(params=["pix2pix", "autoencoder"])
def name(request: pytest.FixtureRequest) -> str:
    """A test with this argument runs for both models: one has two optimizers, one has one."""
    return str(request.param)


@pytest.fixture
def comic_root(tmp_path: Path) -> Path:
    """Pairs in the layout ``folders``, split by folders: 6 train, 2 val, 4 test."""
    return make_comic_root(tmp_path / "pairs")


def make_comic_root(root: Path, counts: dict[str, int] | None = None) -> Path:
    seed = 0
    for split, count in (counts or {"train": 6, "val": 2, "test": 4}).items():
        for side in ("face", "comics"):
            (root / split / side).mkdir(parents=True)
        for index in range(count):
            source = image(seed := seed + 1)
            source.save(root / split / "face" / f"{split}{index}.png")
            comic_of(source).save(root / split / "comics" / f"{split}{index}.png")
    return root


Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Runs ``python -m image_translation.<name> arguments…`` in an empty folder."""
    folder = tmp_path / "cwd"
    folder.mkdir()

    def run(name: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        everything = os.environ | ENVIRONMENT | environment
        return run_module(f"image_translation.{name}", [*map(str, arguments)], folder, everything, tmp_path)

    return run


def train(folder: Path, *options: str) -> None:
    """Train by the command line in a folder, for fixtures that several tests share."""
    environment = os.environ | ENVIRONMENT | {"WANDB_MODE": "offline"}
    succeeded(run_module("image_translation.train", [*options], folder, environment, folder))


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Pix2Pix run of two epochs with W&B and TensorBoard; its pairs and what it printed are beside it.

    Tests read it, and may evaluate it.
    """
    folder = tmp_path_factory.mktemp("finished")
    train(folder, *TINY_PIX2PIX, f"data.root={make_comic_root(folder / 'pairs')}", "logger=[wandb,tensorboard]",
          "trainer.max_epochs=2", "trainer.log_every_n_steps=2", "hydra.run.dir=run", "seed=0")  # fmt: skip
    return folder / "run"


def read_json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def succeeded(result: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    assert result.returncode == 0, result.stdout + result.stderr
    return result
