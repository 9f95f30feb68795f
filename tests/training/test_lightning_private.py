"""The three private names of Lightning, each used for what it is there for. If one of these fails after an update of
Lightning, look at ``training/lightning_private.py``."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from helpers.training import NAMES, fit, make_data, make_model, make_trainer
from pytorch_lightning.callbacks import Checkpoint, EMAWeightAveraging, LambdaCallback
from torch import nn

from image_translation.training.lightning_private import count_steps, set_progress, start_average
from image_translation.training.schedules import warmup_cosine


class SaveOnce(Checkpoint):
    """Saves before a batch, an epoch or the end."""

    def __init__(self, path: Path, epoch: int, batch: int | None) -> None:
        self.path, self.place, self.seen = path, (epoch, batch), list[tuple[int, int, list[str]]]()

    def on_train_epoch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.save_at(trainer, (trainer.current_epoch, None))

    on_train_end = on_train_epoch_start

    def on_train_batch_start(self, trainer: pl.Trainer, _: Any, batch: Any, batch_idx: int) -> None:
        self.seen.append((trainer.current_epoch, batch_idx, batch["name"]))
        self.save_at(trainer, (trainer.current_epoch, batch_idx))

    def save_at(self, trainer: pl.Trainer, place: tuple[int, int | None]) -> None:
        if place == self.place:
            trainer.save_checkpoint(self.path)

    def on_save_checkpoint(self, trainer: pl.Trainer, _: Any, checkpoint: dict[str, Any]) -> None:
        set_progress(checkpoint["loops"]["fit_loop"], trainer, epoch_ended=self.place[1] is None)


@pytest.mark.parametrize(("epoch", "batch", "left"), [(0, 0, 6), (0, 2, 4), (1, None, 3), (2, None, 0)])
@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_says_exactly_where_training_is(
    name: str, epoch: int, batch: int | None, left: int, comic_root: Path, tmp_path: Path
) -> None:
    """Two epochs of three batches; the resumed loop begins at the batch that comes next."""
    schedule = {"scheduler": partial(warmup_cosine, warmup_steps=1)}  # it asks for the number of steps
    options: dict[str, Any] = {"max_epochs": 2, "limit_val_batches": 0}
    whole, resumed = SaveOnce(tmp_path / "a.ckpt", epoch, batch), SaveOnce(tmp_path / "b.ckpt", -1, None)
    fit(make_model(name, **schedule), make_data(comic_root, batch_size=2), callbacks=[whole], **options)
    trainer = fit(make_model(name, **schedule), make_data(comic_root, batch_size=2), callbacks=[resumed],
                  ckpt_path=tmp_path / "a.ckpt", **options)  # fmt: skip
    assert trainer.global_step == len(whole.seen) == 6
    assert resumed.seen == whole.seen[6 - left :]


@pytest.mark.parametrize(("options", "batches_per_step", "steps"), [
    ({"max_epochs": 4}, 1, 12), ({"max_epochs": 4}, 2, 8), ({"max_epochs": -1, "max_steps": 5}, 2, 5),
    ({"max_epochs": -1}, 1, float("inf")),
])  # fmt: skip
def test_steps_are_counted_without_keeping_the_loader(
    options: dict[str, int], batches_per_step: int, steps: float, comic_root: Path
) -> None:
    counted, loaders = [], []

    def count(trainer: pl.Trainer, _: Any) -> None:
        counted.append(count_steps(trainer, batches_per_step))
        loaders.append(trainer.train_dataloader)
        trainer.should_stop = True

    trainer = make_trainer(callbacks=[LambdaCallback(on_fit_start=count)], limit_val_batches=0, **options)
    trainer.fit(make_model("autoencoder"), datamodule=make_data(comic_root, batch_size=2))
    assert (counted, loaders) == ([steps], [None])
    assert trainer.accumulate_grad_batches == 1


def test_the_average_begins_with_the_model_and_on_its_device() -> None:
    callback, model = EMAWeightAveraging(), make_model("autoencoder")
    callback.setup(make_trainer(), model, "fit")
    (average,) = (value for value in vars(callback).values() if isinstance(value, nn.Module))
    nn.init.ones_(next(model.parameters()))  # what happens to a model between its callbacks' setup and the fit
    start_average(callback, model)
    assert next(average.parameters()).eq(1).all()
    start_average(callback, model.to("meta"))
    assert {p.device.type for p in average.parameters()} == {"meta"}
