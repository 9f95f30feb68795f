"""A training that is stopped at any moment and resumed ends as one that was not, bit for bit."""

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from conftest import make_comic_root
from helpers.results import unlike
from helpers.training import fit, make_data, make_model
from pytorch_lightning.callbacks import ModelCheckpoint

from image_translation.callbacks import EMA, LastCheckpoint, TrainingMetrics
from image_translation.training.schedules import linear_decay, warmup_cosine

HOOKS = (
    "on_train_epoch_start", "on_train_batch_start", "on_train_batch_end", "on_validation_start",
    "on_validation_batch_end", "on_validation_end", "on_train_epoch_end", "on_train_end",
)  # fmt: skip


class StopAt(pl.Callback):
    """Sends this process a SIGTERM at one moment, counted over all hooks; 0 for never."""

    def __init__(self, moment: int) -> None:
        self.moment, self.count = moment, 0

    def tick(self, *_: Any, **__: Any) -> None:
        self.count += 1
        if self.count == self.moment:
            os.kill(os.getpid(), signal.SIGTERM)


for hook in HOOKS:
    setattr(StopAt, hook, lambda self, *_, **__: self.tick())


def train(root: Path, folder: Path, stop_at: int = 0, **options: Any) -> int | None:
    """Train, from the last checkpoint if there is one; the number of moments, or None if the training was stopped."""
    folder.mkdir(exist_ok=True)
    last = folder / "checkpoints" / "last.ckpt"
    stop = StopAt(stop_at)
    callbacks = [
        TrainingMetrics(str(folder / "metrics.csv")),
        stop,
        LastCheckpoint(str(last.parent), **options.pop("last", {})),
        ModelCheckpoint(last.parent, "best", "val/psnr", mode="max", save_weights_only=True,
                        enable_version_counter=False),
        *([EMA(options.pop("ema"))] if "ema" in options else []),
    ]  # fmt: skip
    model = make_model(options.pop("name", "pix2pix"), **options.pop("model", {}))
    data = make_data(root, batch_size=2, num_workers=options.pop("num_workers", 0))
    options = {"max_epochs": 3} | options
    try:
        fit(model, data, seed=3, callbacks=callbacks, enable_checkpointing=True,
            ckpt_path=last if last.exists() else None, **options)  # fmt: skip
    except SystemExit:
        return None
    return stop.count


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {"model": {"scheduler": partial(linear_decay, max_epochs=3, decay_epochs=2)}},
    "automatic": {"name": "autoencoder", "model": {"scheduler": partial(warmup_cosine, warmup_steps=2)}},
    "automatic accumulating": {"name": "autoencoder", "accumulate_grad_batches": 2},
    "accumulating": {"model": {"accumulate_grad_batches": 2}},
    "by steps": {"max_epochs": 5, "max_steps": 10},
    "rarely validating": {"check_val_every_n_epoch": 2},
    "often validating": {"val_check_interval": 0.5},
    "a part of the batches": {"limit_train_batches": 3},
    "with a reader": {"num_workers": 1},
    "a checkpoint a step": {"last": {"every_n_steps": 1, "keep": 3}},
    "averaging": {"ema": 0.9},
    "only one checkpoint": {"last": {"every_n_epochs": 0}},
}
QUICK = {
    "plain": 3,
    "automatic": 3,
    "automatic accumulating": 5,
    "averaging": 7,
    "accumulating": 7,
    "often validating": 8,
    "with a reader": 17,
}  # every so many moments


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_comic_root(tmp_path_factory.mktemp("data") / "pairs", {"train": 7, "val": 3, "test": 2})


def stop_everywhere(root: Path, folder: Path, name: str, every: int) -> None:
    moments = train(root, folder / "whole", **dict(OPTIONS[name]))
    assert moments is not None
    assert moments > 30
    for moment in range(1, moments + 1, every):
        place = folder / str(moment)
        if train(root, place, moment, **dict(OPTIONS[name])) is None:
            assert train(root, place, **dict(OPTIONS[name])) is not None
        else:
            assert moment == moments  # the signal came as the training ended anyway
        assert unlike(folder / "whole", place) == [], f"stopped at moment {moment} of {moments}"


@pytest.fixture(autouse=True)
def _terminating() -> Any:
    """SIGTERM as a command handles it outside of training."""

    def terminate(*_: object) -> None:
        raise SystemExit(143)

    before = signal.signal(signal.SIGTERM, terminate)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("name", QUICK)
def test_stopped_at_some_moments(name: str, root: Path, tmp_path: Path) -> None:
    stop_everywhere(root, tmp_path, name, QUICK[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_stopped_at_every_moment(name: str, root: Path, tmp_path: Path) -> None:
    stop_everywhere(root, tmp_path, name, 1)


def test_stopped_again_and_again(root: Path, tmp_path: Path) -> None:
    """Eleven times, a few batches further each time."""
    train(root, tmp_path / "whole")
    stops = 0
    while train(root, tmp_path / "stopped", 4) is None:
        stops += 1
    assert stops > 8
    assert unlike(tmp_path / "whole", tmp_path / "stopped") == []


def test_as_many_earlier_checkpoints_as_asked(root: Path, tmp_path: Path) -> None:
    train(root, tmp_path, **{"last": {"every_n_steps": 2, "keep": 3}})
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["best.ckpt", "last.ckpt", "step_00000008.ckpt", "step_00000010.ckpt", "step_00000012.ckpt"]
    for path in (tmp_path / "checkpoints").glob("step_*"):
        assert f"step_{torch.load(path, weights_only=True)['global_step']:08d}.ckpt" == path.name
