"""Signals: a run stops between two batches, whatever it was doing when the signal came."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from conftest import SIZE

from image_translation.callbacks import LastCheckpoint
from image_translation.data import PairedImageDataModule
from image_translation.models import Pix2Pix

EPOCHS, BATCHES = 2, 3


class Signals(pl.Callback):
    """Sends this process signals at one moment of one training."""

    def __init__(self, moment: str, batch: int, *numbers: int) -> None:
        self.moment, self.batch, self.numbers = moment, batch, list(numbers)

    def send(self) -> None:
        while self.numbers:
            os.kill(os.getpid(), self.numbers.pop())

    def on_train_batch_start(self, trainer: pl.Trainer, model: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.batch:
            if self.moment == "optimizing":
                descend, model.descend = model.descend, lambda *a: (descend(*a), self.send())
            elif self.moment == "logging":
                log_dict = model.log_dict
                model.log_dict = lambda *a, **k: (log_dict(*a, **k), self.send())

    def on_train_batch_end(self, trainer: pl.Trainer, model: Any, *_: Any) -> None:
        if self.moment == "batch_end" and trainer.global_step == self.batch + 1:
            self.send()

    def on_validation_epoch_end(self, trainer: pl.Trainer, model: Any) -> None:
        if self.moment == "validation_end" and trainer.global_step == self.batch + 1:
            self.send()


@contextmanager
def terminating() -> Iterator[None]:
    """SIGTERM as a command handles it outside of training."""

    def terminate(*_: object) -> None:
        raise SystemExit("outside of training")

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
        assert signal.getsignal(signal.SIGTERM) is terminate
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGINT, signal.default_int_handler)


def train(signals: Signals, root: Path, folder: Path) -> None:
    data = PairedImageDataModule(task="comic", root=str(root), input_folder="face", target_folder="comics",
                                 image_size=SIZE, batch_size=2, num_workers=0)  # fmt: skip
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=EPOCHS, logger=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[signals, LastCheckpoint(str(folder / "checkpoints"))],
    )  # fmt: skip
    trainer.fit(Pix2Pix(image_size=SIZE, base_channels=4), datamodule=data)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize(
    ("moment", "batch"),
    [("optimizing", 1), ("logging", 1), ("batch_end", 1), ("validation_end", 2), ("batch_end", EPOCHS * BATCHES - 1)],
)
def test_the_batch_is_finished_and_counted(
    moment: str, batch: int, number: signal.Signals, comic_root: Path, tmp_path: Path
) -> None:
    with terminating(), pytest.raises(SystemExit) as stopped:
        train(Signals(moment, batch, number), comic_root, tmp_path)
    if number != signal.SIGINT:
        assert stopped.value.code == 143
    else:
        assert isinstance(stopped.value.__context__, KeyboardInterrupt)
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == batch + 1
    assert last["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["completed"] == batch + 1
    assert [state["state"][0]["step"].item() for state in last["optimizer_states"]] == [batch + 1] * 2


def test_a_second_signal_stops_at_once(comic_root: Path, tmp_path: Path) -> None:
    with terminating(), pytest.raises(SystemExit) as stopped:
        train(Signals("optimizing", 1, signal.SIGTERM, signal.SIGTERM), comic_root, tmp_path)
    assert stopped.value.code == 143
    assert not (tmp_path / "checkpoints").exists()  # the batch was not finished, and nothing had been saved before


def test_without_a_signal_training_ends_and_the_handlers_are_back(comic_root: Path, tmp_path: Path) -> None:
    with terminating():
        train(Signals("never", 0), comic_root, tmp_path)
