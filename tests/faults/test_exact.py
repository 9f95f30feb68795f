"""A training that a signal stops at any moment ends between two steps; resumed it is as if unstopped, bit for bit."""

import os
import signal
from collections.abc import Iterator
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

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1]
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


class Signals(pl.Callback):
    """Sends this process signals within the second step: in the forward pass, or between the optimizers."""

    def __init__(self, moment: str, *numbers: int) -> None:
        self.moment, self.numbers = moment, list(numbers)

    def send(self, *_: Any) -> None:
        while self.numbers:
            os.kill(os.getpid(), self.numbers.pop())

    def on_train_batch_start(self, trainer: pl.Trainer, model: Any, *_: Any) -> None:
        if trainer.global_step == 1 and self.moment == "forward":
            model.generator.register_forward_hook(self.send)

    def on_before_optimizer_step(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == 1 and self.moment == "between the optimizers":
            self.send()


@pytest.fixture(autouse=True)
def _terminating() -> Iterator[None]:
    """Signals as a command handles them outside of training, which leaves them as they were."""

    def terminate(*_: object) -> None:
        raise SystemExit("outside of training")

    before = [signal.signal(number, terminate) for number in SIGNALS[1:]]
    yield
    after = [signal.getsignal(number) for number in SIGNALS]
    for number, handler in zip(SIGNALS, [signal.default_int_handler, *before], strict=True):
        signal.signal(number, handler)
    assert after == [signal.default_int_handler, *[terminate] * 3]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven training images: four batches an epoch, the last with a single image."""
    return make_comic_root(tmp_path_factory.mktemp("data") / "pairs", {"train": 7, "val": 3, "test": 2})


def train(root: Path, folder: Path, stop: pl.Callback, name: str = "pix2pix", **options: Any) -> None:
    """Train, from the last checkpoint if there is one."""
    folder.mkdir(exist_ok=True)
    last = folder / "checkpoints" / "last.ckpt"
    best = ModelCheckpoint(last.parent, "best", "val/psnr", mode="max", save_weights_only=True,
                           enable_version_counter=False)  # fmt: skip
    callbacks = [TrainingMetrics(str(folder / "metrics.csv")), stop,
                 LastCheckpoint(str(last.parent), **options.pop("last", {})), best,
                 *([EMA(options.pop("ema"))] if "ema" in options else [])]  # fmt: skip
    model = make_model(name, **options.pop("model", {}))
    data = make_data(root, batch_size=2, num_workers=options.pop("num_workers", 0))
    fit(model, data, seed=3, callbacks=callbacks, enable_checkpointing=True,
        ckpt_path=last if last.exists() else None, **({"max_epochs": 3} | options))  # fmt: skip


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
QUICK = [("plain", 3), ("automatic", 3), ("automatic accumulating", 5), ("averaging", 7), ("accumulating", 7),
         ("often validating", 8), ("with a reader", 17)]  # fmt: skip
ALL = [pytest.param(name, 1, marks=pytest.mark.slow) for name in OPTIONS]


@pytest.mark.parametrize(("name", "every"), [*QUICK, *ALL])
def test_stopped_every_so_many_moments(name: str, every: int, root: Path, tmp_path: Path) -> None:
    moments = StopAt(0)
    train(root, tmp_path / "whole", moments, **OPTIONS[name])
    assert moments.count > 30
    for moment in range(1, moments.count + 1, every):
        place = tmp_path / str(moment)
        try:
            train(root, place, StopAt(moment), **OPTIONS[name])
        except SystemExit:
            train(root, place, StopAt(0), **OPTIONS[name])
        else:
            assert moment == moments.count  # the signal came as the training ended anyway
        assert unlike(tmp_path / "whole", place) == [], f"stopped at moment {moment} of {moments.count}"


def test_stopped_again_and_again(root: Path, tmp_path: Path) -> None:
    """Nine times, a few batches further each time."""
    train(root, tmp_path / "whole", StopAt(0))
    for _ in range(9):
        with pytest.raises(SystemExit):
            train(root, tmp_path / "stopped", StopAt(4))
    train(root, tmp_path / "stopped", StopAt(0))
    assert unlike(tmp_path / "whole", tmp_path / "stopped") == []


@pytest.mark.parametrize(("moment", "name", "number"), [
    *(("forward", "pix2pix", number) for number in SIGNALS), ("forward", "autoencoder", signal.SIGTERM),
    ("between the optimizers", "pix2pix", signal.SIGTERM),
])  # fmt: skip
def test_the_step_is_finished_and_counted(
    moment: str, name: str, number: signal.Signals, root: Path, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as stopped:
        train(root, tmp_path, Signals(moment, number), name)
    if number == signal.SIGINT:
        assert isinstance(stopped.value.__context__, KeyboardInterrupt)
    else:
        assert stopped.value.code == 143
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 2
    assert last["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["completed"] == 2
    assert {state["state"][0]["step"].item() for state in last["optimizer_states"]} == {2}


def test_of_two_signals_each_once_the_step_is_finished(root: Path, tmp_path: Path) -> None:
    """As when SLURM signals a job and its launcher passes on another one."""
    with pytest.raises(SystemExit) as stopped:
        train(root, tmp_path, Signals("forward", signal.SIGUSR2, signal.SIGTERM))
    assert stopped.value.code == 143
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 2


def test_the_same_signal_again_stops_at_once(root: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        train(root, tmp_path, Signals("forward", signal.SIGTERM, signal.SIGTERM))
    assert stopped.value.code == 143
    assert not (tmp_path / "checkpoints").exists()  # the step was not finished, and nothing had been saved before


def test_as_many_earlier_checkpoints_as_asked(root: Path, tmp_path: Path) -> None:
    train(root, tmp_path, StopAt(0), last={"every_n_steps": 2, "keep": 3})
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["best.ckpt", "last.ckpt", "step_00000008.ckpt", "step_00000010.ckpt", "step_00000012.ckpt"]
    for path in (tmp_path / "checkpoints").glob("step_*"):
        assert f"step_{torch.load(path, weights_only=True)['global_step']:08d}.ckpt" == path.name
