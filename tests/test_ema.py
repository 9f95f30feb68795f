"""The moving average of the weights."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from conftest import SIZE, TINY_PIX2PIX, Command, succeeded
from pytorch_lightning.callbacks import ModelCheckpoint

import image_translation
from image_translation.callbacks import EMA, Panels
from image_translation.cli.errors import UserError
from image_translation.data import PairedImageDataModule
from image_translation.metrics.image_scores import mean_metrics
from image_translation.models import Pix2Pix

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


def test_it_is_validated_shown_and_kept(comic_root: Path, tmp_path: Path) -> None:
    pl.seed_everything(0, verbose=False)
    model, by_hand = Pix2Pix(image_size=SIZE, base_channels=4, learning_rate=2e-3), ByHand()
    data = PairedImageDataModule("comic", str(comic_root), input_folder="face", target_folder="comics", image_size=SIZE,
                                 num_workers=0, batch_size=2)  # fmt: skip
    best = ModelCheckpoint(tmp_path, "best", save_weights_only=True)  # of the last epoch
    shown: list[Weights] = []

    class Shown(Panels):
        def _draw(self, trainer: pl.Trainer, model: Any, epoch: int) -> None:
            with model.evaluating():
                shown.append({name: value.clone() for name, value in model.generator.state_dict().items()})
            super()._draw(trainer, model, epoch)

    trainer = pl.Trainer(accelerator="cpu", max_epochs=2, logger=False, enable_progress_bar=False,
                         enable_model_summary=False,
                         callbacks=[by_hand, EMA(DECAY), best, Shown(str(tmp_path / "panels"))])  # fmt: skip
    trainer.fit(model, datamodule=data)
    own = model.generator.state_dict()
    assert not close(own, by_hand.average)
    assert close(by_hand.at_validation, by_hand.average)
    assert close(shown[-1], by_hand.average)
    kept = image_translation.load(tmp_path / "best.ckpt")
    assert close(kept.generator.state_dict(), by_hand.average)
    # What is measured is what the kept weights give.
    model.load_state_dict(kept.state_dict())
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False)
    before = mean_metrics(model.scores["val"])
    trainer.validate(model, datamodule=data, verbose=False)
    assert mean_metrics(model.scores["val"]) == pytest.approx(before, rel=1e-5)


def test_on_the_command_line(comic_root: Path, command: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    succeeded(command("train", *TINY_PIX2PIX, "callbacks=ema", "callbacks.ema.decay=0.9", f"data.root={comic_root}",
                      f"hydra.run.dir={run}"))  # fmt: skip
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    best = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    assert "current_model_state" not in best
    for name, value in last["state_dict"].items():
        assert torch.equal(value, best["state_dict"][name])  # one epoch: the average, in both
    assert any(not torch.equal(value, last["current_model_state"][name]) for name, value in best["state_dict"].items())


@pytest.mark.parametrize("decay", [-0.1, 1, 1.5])
def test_the_decay_is_checked(decay: float) -> None:
    with pytest.raises(UserError, match=r"callbacks\.ema\.decay"):
        EMA(decay)
