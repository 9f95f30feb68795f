"""The three private names of Lightning, each used for what it is there for. If one of these fails after an update of
Lightning, look at ``training/lightning_private.py``."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from helpers.training import NAMES, fit, make_data, make_model, make_trainer
from pytorch_lightning.callbacks import Checkpoint, EMAWeightAveraging
from torch import nn

from image_translation.training.lightning_private import count_steps, move_average, set_progress
from image_translation.training.schedules import warmup_cosine


class SaveOnce(Checkpoint):
    """Saves before a batch, an epoch or the end, with the progress as we write it or as Lightning does."""

    def __init__(self, path: Path, epoch: int, batch: int | None, ours: bool = True) -> None:
        self.path, self.place, self.ours, self.seen = path, (epoch, batch), ours, list[tuple[int, int, list[str]]]()

    def on_train_epoch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.save_at(trainer, (trainer.current_epoch, None))

    def on_train_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.save_at(trainer, (trainer.current_epoch, None))

    def on_train_batch_start(self, trainer: pl.Trainer, _: Any, batch: Any, batch_idx: int) -> None:
        self.seen.append((trainer.current_epoch, batch_idx, batch["name"]))
        self.save_at(trainer, (trainer.current_epoch, batch_idx))

    def save_at(self, trainer: pl.Trainer, place: tuple[int, int | None]) -> None:
        if place == self.place:
            trainer.save_checkpoint(self.path)

    def on_save_checkpoint(self, trainer: pl.Trainer, _: Any, checkpoint: dict[str, Any]) -> None:
        if self.ours:
            set_progress(checkpoint["loops"]["fit_loop"], trainer, epoch_ended=self.place[1] is None)


def batches_from(
    name: str, root: Path, folder: Path, epoch: int, batch: int | None, ours: bool = True, **options: Any
) -> tuple[list[Any], list[Any], int]:
    """The batches of a training, those of one resumed from a place in it, and the steps of the latter in the end."""
    model = {"scheduler": partial(warmup_cosine, warmup_steps=1)}  # it asks for the number of steps
    data = {"batch_size": 2, "num_workers": 0}
    whole = SaveOnce(folder / "a.ckpt", epoch, batch, ours)
    fit(make_model(name, **model), make_data(root, **data), callbacks=[whole], **options)
    resumed = SaveOnce(folder / "b.ckpt", -1, None)
    trainer = fit(make_model(name, **model), make_data(root, **data), callbacks=[resumed],
                  ckpt_path=folder / "a.ckpt", **options)  # fmt: skip
    return whole.seen, resumed.seen, trainer.global_step


@pytest.mark.parametrize(("epoch", "batch", "left"), [(0, 0, 6), (0, 2, 4), (1, None, 3), (2, None, 0)])
@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_says_exactly_where_training_is(
    name: str, epoch: int, batch: int | None, left: int, comic_root: Path, tmp_path: Path
) -> None:
    """Two epochs of three batches; the resumed loop begins at the batch that comes next."""
    whole, resumed, steps = batches_from(name, comic_root, tmp_path, epoch, batch, max_epochs=2, limit_val_batches=0)
    assert steps == len(whole) == 6
    assert resumed == whole[6 - left :]


def test_lightnings_own_checkpoint_would_not(comic_root: Path, tmp_path: Path) -> None:
    """When this fails, ``set_progress`` can go."""
    whole, resumed, _ = batches_from("pix2pix", comic_root, tmp_path, 1, None, ours=False, max_epochs=2)
    assert resumed != whole[3:]


@pytest.mark.parametrize(("options", "batches_per_step", "steps"), [
    ({"max_epochs": 4}, 1, 12), ({"max_epochs": 4}, 2, 8), ({"max_epochs": -1, "max_steps": 5}, 2, 5),
    ({"max_epochs": -1}, 1, float("inf")),
])  # fmt: skip
def test_steps_are_counted_without_keeping_the_loader(
    options: dict[str, int], batches_per_step: int, steps: float, comic_root: Path
) -> None:
    counted, loaders = [], []

    class Counting(pl.Callback):
        def on_fit_start(self, trainer: pl.Trainer, *_: Any) -> None:
            counted.append(count_steps(trainer, batches_per_step))
            loaders.append(trainer.train_dataloader)
            trainer.should_stop = True

    trainer = make_trainer(callbacks=[Counting()], limit_val_batches=0, **options)
    trainer.fit(make_model("autoencoder"), datamodule=make_data(comic_root, batch_size=2))
    assert (counted, loaders) == ([steps], [None])
    assert trainer.accumulate_grad_batches == 1


def test_the_average_moves_to_the_device_of_the_model() -> None:
    callback, model = EMAWeightAveraging(), make_model("autoencoder")
    callback.setup(make_trainer(), model, "fit")
    move_average(callback, torch.device("meta"))
    (average,) = (value for value in vars(callback).values() if isinstance(value, nn.Module))
    assert {p.device.type for p in average.parameters()} == {"meta"}
