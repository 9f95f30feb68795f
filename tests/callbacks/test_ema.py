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


def weights_of(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.double().cpu() for name, value in model.generator.state_dict().items()}


class ByHand(pl.Callback):
    """The average of a generator's weights, in double precision: after the first step its weights, then a mixture."""

    def __init__(self) -> None:
        self.average, self.at_validation = dict[str, torch.Tensor](), dict[str, torch.Tensor]()

    def on_train_batch_end(self, trainer: pl.Trainer, model: Any, *_: Any) -> None:
        for name, value in weights_of(model).items():
            self.average[name] = DECAY * self.average.get(name, value) + (1 - DECAY) * value

    def on_validation_batch_end(self, trainer: pl.Trainer, model: Any, *_: Any) -> None:
        self.at_validation = weights_of(model)


def close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.allclose(one[name], other[name], rtol=1e-5, atol=1e-7) for name in other)


@pytest.mark.parametrize("accelerator", ["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def test_it_is_validated_shown_and_kept(accelerator: str, comic_root: Path, tmp_path: Path) -> None:
    model, by_hand, data = make_model("pix2pix", optimizer=adam(2e-3)), ByHand(), make_data(comic_root, batch_size=2)
    best = ModelCheckpoint(tmp_path, "best", save_weights_only=True)  # of the last epoch
    callbacks = [by_hand, EMA(DECAY), best, LastCheckpoint(str(tmp_path)), Panels(str(tmp_path / "panels"))]
    fit(model, data, accelerator=accelerator, devices=1, max_epochs=2, callbacks=callbacks)
    own = weights_of(model)
    kept, last = (image_translation.load(tmp_path / f"{name}.ckpt") for name in ("best", "last"))
    assert not close(own, by_hand.average)
    assert all(close(found, by_hand.average) for found in (by_hand.at_validation, weights_of(kept), weights_of(last)))
    trained = torch.load(tmp_path / "last.ckpt", "cpu", weights_only=True)["current_model_state"]
    assert close({name: trained[f"generator.{name}"].double() for name in own}, own)  # training is resumed from these
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


def test_the_decay_is_checked() -> None:
    for decay in (-0.1, 1, 1.5):
        with pytest.raises(UserError, match=r"^decay must be"):
            EMA(decay)
