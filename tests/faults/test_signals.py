"""Signals: a run stops between two steps, whatever it was doing when the signal came."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from helpers.training import fit, make_data, make_model

from image_translation.callbacks import LastCheckpoint, TrainingMetrics

EPOCHS, BATCHES = 2, 3
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1]


class Signals(pl.Callback):
    """Sends this process signals at one moment of a step, or of the validation after it."""

    def __init__(self, moment: str, step: int, *numbers: int) -> None:
        self.moment, self.step, self.numbers = moment, step, list(numbers)

    def send(self, *_: Any) -> None:
        while self.numbers:
            os.kill(os.getpid(), self.numbers.pop())

    def on_train_batch_start(self, trainer: pl.Trainer, model: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.step and self.moment == "forward":
            model.generator.register_forward_hook(self.send)
        elif trainer.global_step == self.step and self.moment == "logging":
            log_dict = model.log_dict
            model.log_dict = lambda *args, **options: (log_dict(*args, **options), self.send())

    def on_before_optimizer_step(self, trainer: pl.Trainer, model: Any, optimizer: Any) -> None:
        if self.moment == "between the optimizers" and trainer.global_step == self.step:
            self.send()

    def on_train_batch_end(self, trainer: pl.Trainer, model: Any, *_: Any) -> None:
        if self.moment == "batch end" and trainer.global_step == self.step + 1:
            self.send()

    def on_validation_epoch_end(self, trainer: pl.Trainer, model: Any) -> None:
        if self.moment == "validation end" and trainer.global_step == self.step + 1:
            self.send()


@contextmanager
def terminating() -> Iterator[None]:
    """SIGTERM as a command handles it outside of training."""

    def terminate(*_: object) -> None:
        raise SystemExit("outside of training")

    before = {number: signal.signal(number, terminate) for number in SIGNALS[1:]}
    try:
        yield
        assert {signal.getsignal(number) for number in SIGNALS[1:]} == {terminate}
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.signal(signal.SIGINT, signal.default_int_handler)


def train(name: str, signals: Signals, root: Path, folder: Path) -> None:
    callbacks = [signals, TrainingMetrics(str(folder / "metrics.csv")), LastCheckpoint(str(folder / "checkpoints"))]
    fit(make_model(name), make_data(root, batch_size=2), max_epochs=EPOCHS, callbacks=callbacks,
        enable_checkpointing=True)  # fmt: skip


@pytest.mark.parametrize(
    ("moment", "step", "name", "number"),
    [
        *(("forward", 1, "pix2pix", number) for number in SIGNALS),
        ("forward", 1, "autoencoder", signal.SIGTERM),
        ("between the optimizers", 1, "pix2pix", signal.SIGTERM),
        ("logging", 1, "pix2pix", signal.SIGTERM),
        ("validation end", 2, "autoencoder", signal.SIGHUP),
        ("batch end", EPOCHS * BATCHES - 1, "pix2pix", signal.SIGINT),
    ],
)
def test_the_step_is_finished_and_counted(
    moment: str, step: int, name: str, number: signal.Signals, comic_root: Path, tmp_path: Path
) -> None:
    with terminating(), pytest.raises(SystemExit) as stopped:
        train(name, Signals(moment, step, number), comic_root, tmp_path)
    if number == signal.SIGINT:
        assert isinstance(stopped.value.__context__, KeyboardInterrupt)
    else:
        assert stopped.value.code == 143
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == step + 1
    assert last["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["completed"] == step + 1
    assert {state["state"][0]["step"].item() for state in last["optimizer_states"]} == {step + 1}


def test_a_second_signal_stops_at_once(comic_root: Path, tmp_path: Path) -> None:
    with terminating(), pytest.raises(SystemExit) as stopped:
        train("pix2pix", Signals("forward", 1, signal.SIGTERM, signal.SIGTERM), comic_root, tmp_path)
    assert stopped.value.code == 143
    assert not (tmp_path / "checkpoints").exists()  # the step was not finished, and nothing had been saved before


def test_without_a_signal_training_ends_and_the_handlers_are_back(comic_root: Path, tmp_path: Path) -> None:
    with terminating():
        train("autoencoder", Signals("never", 0), comic_root, tmp_path)
