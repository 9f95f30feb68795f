"""The moving average of the weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from conftest import SIZE
from helpers.training import adam, fit, make_data, make_model, make_trainer
from PIL import Image
from pytorch_lightning.callbacks import ModelCheckpoint

import image_translation
from image_translation.callbacks import EMA, LastCheckpoint, Panels
from image_translation.cli.errors import UserError
from image_translation.metrics.image_scores import mean_metrics

DECAY = 0.7
Weights = dict[str, torch.Tensor]


class ByHand(pl.Callback):
    """The average of a generator's weights, in double precision: after the first step its weights, then a mixture."""

    def __init__(self) -> None:
        self.average: Weights = {}
        self.at_validation: Weights = {}

    def on_train_batch_end(self, trainer: pl.Trainer, model: Any, *_: Any) -> None:
        for name, value in model.generator.state_dict().items():
            old = self.average.get(name, value.double())
            self.average[name] = DECAY * old + (1 - DECAY) * value.double()

    def on_validation_batch_end(self, trainer: pl.Trainer, model: Any, *_: Any) -> None:
        self.at_validation = {name: value.clone() for name, value in model.generator.state_dict().items()}


def close(one: Weights, other: Weights) -> bool:
    return all(torch.allclose(one[name].double(), other[name].double(), rtol=1e-5, atol=1e-7) for name in other)


@pytest.mark.parametrize("accelerator", ["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def test_it_is_validated_shown_and_kept(accelerator: str, comic_root: Path, tmp_path: Path) -> None:
    model, by_hand, data = make_model("pix2pix", optimizer=adam(2e-3)), ByHand(), make_data(comic_root, batch_size=2)
    best = ModelCheckpoint(tmp_path, "best", save_weights_only=True)  # of the last epoch
    callbacks = [by_hand, EMA(DECAY), best, LastCheckpoint(str(tmp_path)), Panels(str(tmp_path / "panels"))]
    fit(model, data, accelerator=accelerator, devices=1, max_epochs=2, callbacks=callbacks)
    average = {name: value.cpu() for name, value in by_hand.average.items()}
    own = model.cpu().generator.state_dict()
    assert not close(own, average)
    assert close({name: value.cpu() for name, value in by_hand.at_validation.items()}, average)
    kept = image_translation.load(tmp_path / "best.ckpt")
    assert close(kept.generator.state_dict(), average)
    assert close(image_translation.load(tmp_path / "last.ckpt").generator.state_dict(), average)
    last = torch.load(tmp_path / "last.ckpt", "cpu", weights_only=True)["current_model_state"]
    assert close({name: last[f"generator.{name}"] for name in own}, own)  # training is resumed from these
    # What was measured and shown is what the kept weights give.
    if accelerator == "cpu":
        panel = np.asarray(Image.open(tmp_path / "panels" / "epoch_0002.png"))[22:, 4 + 2 * (SIZE + 4) :, :]
        for row, pair in enumerate(data.datasets["val"].pairs):
            predicted = np.asarray(kept.predict(Image.open(pair.input)))
            shown = panel[row * (SIZE + 4) :][:SIZE, :SIZE]
            assert np.abs(predicted.astype(int) - shown).max() <= 1
        before = mean_metrics(model.results["val"])
        make_trainer().validate(kept, datamodule=data, verbose=False)
        assert mean_metrics(kept.results["val"]) == pytest.approx(before, rel=1e-5)


@pytest.mark.parametrize("decay", [-0.1, 1, 1.5])
def test_the_decay_is_checked(decay: float) -> None:
    with pytest.raises(UserError, match=r"^decay must be"):
        EMA(decay)
