"""``metrics.csv`` and the logged values, against means computed by hand."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from conftest import read_csv
from helpers.training import NAMES, fit, make_data, make_model, settings
from pytorch_lightning.loggers import CSVLogger

from image_translation.callbacks import TrainingMetrics

LOSSES = {
    "autoencoder": {"loss", "l1"},
    "pix2pix": {"loss", "l1", "gan", "discriminator", "score_real", "score_fake", "accuracy"},
}
VAL = {"val/mse", "val/psnr", "val/ssim"}


class Noted(pl.Callback):
    """Every batch's values and its number of images, in Python's floats; the norms of all gradients unclipped."""

    def __init__(self) -> None:
        self.batches, self.norms = list[tuple[int, dict[str, float]]](), dict[str, float]()

    def on_before_optimizer_step(self, trainer: pl.Trainer, model: Any, optimizer: torch.optim.Optimizer) -> None:
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"]]
        name = "gradient_generator" if optimizer is trainer.optimizers[0] else "gradient_discriminator"
        self.norms[name] = sum(float(gradient.double().square().sum()) for gradient in gradients) ** 0.5

    def on_train_batch_end(self, trainer: pl.Trainer, model: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        losses = {name: float(value) for name, value in outputs.items()}
        self.batches.append((len(batch["name"]), losses | self.norms | {"learning_rate": rate}))
        self.norms = {}


def read(path: Path) -> list[dict[str, float]]:
    return [{name: float(value) for name, value in row.items() if value} for row in read_csv(path)]


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_rows_are_means_over_the_images(name: str, accumulate: int, comic_root: Path, tmp_path: Path) -> None:
    """Three epochs of batches of 4 and 2 images, one of them validated."""
    own, trainers = settings(name, accumulate_grad_batches=accumulate, gradient_clip_val=0.1)
    noted, logger = Noted(), CSVLogger(tmp_path, name="", version="")
    callbacks = [noted, TrainingMetrics(str(tmp_path / "rows.csv"))]
    trainer = fit(make_model(name, **own), make_data(comic_root, batch_size=4), max_epochs=3, callbacks=callbacks,
                  check_val_every_n_epoch=2, logger=logger, log_every_n_steps=1, **trainers)  # fmt: skip
    rows, logged = read(tmp_path / "rows.csv"), read(tmp_path / "metrics.csv")
    updates = 2 // accumulate
    assert [(row["epoch"], row["step"]) for row in rows] == [(epoch, epoch * updates) for epoch in (1, 2, 3)]
    gradients = {f"gradient_{network}" for network in ("generator", "discriminator")[: len(trainer.optimizers)]}
    names = LOSSES[name] | gradients | {"learning_rate"}
    assert [{n for n in row if "/" in n} for row in rows] == [
        {f"train/{n}" for n in names} | val for val in (set(), VAL, set())
    ]
    for index, row in enumerate(rows):
        batches = noted.batches[2 * index : 2 * index + 2]
        for n in names:
            of = [(count, values[n]) for count, values in batches if n in values]
            mean = sum(count * value for count, value in of) / sum(count for count, _ in of)
            assert row[f"train/{n}"] == pytest.approx(mean, rel=1e-5)
        assert row["train/gradient_generator"] > 0.1  # it was clipped
    # Loggers get the same, beside the steps and epochs done, and the values of each step.
    of_epochs = [row for row in logged if "train/l1" in row]
    assert [{n: row[n] for n in row if n not in VAL} for row in rows] == [
        {n: pytest.approx(row[n], rel=1e-5) for n in rows[0]} for row in of_epochs
    ]
    if accumulate == 1:
        of_steps = [(row["step"], row["train/l1_step"]) for row in logged if "train/l1_step" in row]
        noted_l1 = [(step, values["l1"]) for step, (_, values) in enumerate(noted.batches, start=1)]
        assert of_steps == [pytest.approx(pair, rel=1e-5) for pair in noted_l1]
