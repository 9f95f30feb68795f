"""A run that diverges ends before its weights are saved; a GAN that does not learn is warned of."""

import logging
import math
import re
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from conftest import SIZE, TINY_PIX2PIX, Command
from helpers.results import leaves
from helpers.training import fit, make_data, make_model
from pytorch_lightning.callbacks import LambdaCallback
from torch import Tensor

from image_translation.callbacks import EpochProgress, GANMonitor, LastCheckpoint, TrainingMetrics
from image_translation.cli.errors import UserError
from image_translation.models import Pix2Pix
from image_translation.runs.folder import read_manifest

METRICS = partial(TrainingMetrics, "metrics.csv")


class Poisoned(Pix2Pix):
    """Trains well up to the fifth step, where a loss or one number of a gradient is replaced."""

    def __init__(self, what: str, value: float) -> None:
        super().__init__(image_size=SIZE, base_channels=4)
        self.what, self.value = what, value
        next(self.generator.parameters()).register_hook(lambda gradient: self.spoil("gradient", gradient))

    def spoil(self, what: str, tensor: Tensor) -> Tensor:
        if self.global_step == 4 and what == self.what:
            tensor = tensor.clone()
            tensor[(0,) * tensor.ndim] = self.value
        return tensor

    def generator_losses(self, *images: Tensor) -> dict[str, Tensor]:
        losses = super().generator_losses(*images)
        return losses | {"l1": self.spoil("loss", losses["l1"].detach())}


@pytest.mark.parametrize(("what", "value"), [("loss", math.nan), ("loss", -math.inf), ("gradient", math.nan)])
def test_the_step_and_its_images_are_named(what: str, value: float, comic_root: Path, tmp_path: Path) -> None:
    batches: list[list[str]] = []
    noting = LambdaCallback(on_train_batch_start=lambda _, __, batch, ___: batches.append(batch["name"]))
    callbacks = [noting, TrainingMetrics(str(tmp_path / "metrics.csv")), LastCheckpoint(str(tmp_path), every_n_steps=1)]
    data = make_data(comic_root, batch_size=2)
    with pytest.raises(UserError, match=r"Training diverged by step 5: .*(nan|inf)") as raised:
        fit(Poisoned(what, value), data, callbacks=callbacks, max_epochs=3, enable_checkpointing=True)
    assert f"Images: {', '.join(batches[4])}." in str(raised.value)
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 4
    tensors = [*kept["state_dict"].values(), *leaves([kept["optimizer_states"]]).values()]
    assert all(value.isfinite().all() for value in tensors if isinstance(value, Tensor))


@pytest.mark.parametrize("hook", ["on_validation_start", "on_train_epoch_end", "on_save_checkpoint"])
def test_several_steps_are_looked_at_together(hook: str) -> None:
    """As on a GPU, which would have to be waited for; before a checkpoint at the latest."""
    trainer = Mock(global_step=7, world_size=2, log_every_n_steps=3, callback_metrics={}, current_epoch=0,
                   is_global_zero=False, optimizers=[])  # fmt: skip
    model = Mock(gradient_norms={}, device=torch.device("cpu"))
    trainer.strategy.reduce, trainer.strategy.all_gather = lambda total, **_: total * 2, lambda sums: sums

    def train(callback: TrainingMetrics, *losses: float) -> None:
        for batch, loss in enumerate(losses):
            callback.on_train_batch_end(trainer, model, {"loss": torch.tensor(loss)}, {"name": ["a"]}, batch)

    train(METRICS(), math.nan, 1.0)  # not yet
    with pytest.raises(UserError, match="diverged by step 7"):
        train(METRICS(), math.nan, 1.0, 1.0)
    callback, arguments = METRICS(), [trainer, model, {}][: 3 if "save" in hook else 2]
    train(callback, 1.0, 1.0)
    getattr(callback, hook)(*arguments)
    train(callback, math.inf)
    with pytest.raises(UserError, match="diverged by step 7"):
        getattr(callback, hook)(*arguments)


def test_a_run_that_diverges_fails_with_one_message(comic_root: Path, command: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = command("train", *TINY_PIX2PIX, f"data.root={comic_root}", f"hydra.run.dir={run}", "trainer.max_epochs=5",
                     "model.optimizer.lr=1e20", "checkpoint.every_n_steps=1")  # fmt: skip
    assert result.returncode == 1
    assert re.search("^Error: Training diverged by step .* Images: train", result.stderr)
    assert "Traceback" not in result.stderr
    assert read_manifest(run)["status"] == "failed"


class Saturated(Pix2Pix):
    """Its discriminator classifies all patches correctly, as far as it says."""

    def discriminator_losses(self, *images: Tensor) -> dict[str, Tensor]:
        return super().discriminator_losses(*images) | {"accuracy": torch.ones(())}


@pytest.mark.parametrize(("model", "text"), [
    (Saturated, "For 2 epochs the discriminator has classified 100.0% of all patches correctly"),
    (Pix2Pix, None),
])  # fmt: skip
def test_a_gan_that_does_not_learn_is_warned_of_once(
    model: type[Pix2Pix], text: str | None, comic_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    callbacks: list[Any] = [TrainingMetrics(str(tmp_path / "metrics.csv")), GANMonitor(saturated_epochs=2)]
    with caplog.at_level(logging.WARNING, "image_translation"):
        data = make_data(comic_root, batch_size=2)
        fit(model(image_size=SIZE, base_channels=4), data, callbacks=callbacks, max_epochs=4)
    warnings = [record.message for record in caplog.records if record.name.endswith("gan_monitor")]
    assert len(warnings) == bool(text)
    assert all(str(text) in warning and "Try " in warning for warning in warnings)


def test_an_epoch_without_a_validation_shows_no_older_one(comic_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    callbacks = [TrainingMetrics(str(comic_root / "metrics.csv")), EpochProgress("lines")]
    fit(make_model("autoencoder"), make_data(comic_root, batch_size=3), max_epochs=3, check_val_every_n_epoch=2,
        callbacks=callbacks, enable_progress_bar=True)  # fmt: skip
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Epoch ")]
    assert ["val/psnr" in line for line in lines] == [False, True, False]
