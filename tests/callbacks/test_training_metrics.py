"""``metrics.csv``, the logged values and what a run costs, against numbers by hand."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from conftest import SIZE, read_csv
from helpers.training import fit, make_data, make_model, multiply_adds, settings
from pytorch_lightning.loggers import CSVLogger

from image_translation.callbacks import Throughput, TrainingMetrics
from image_translation.callbacks.throughput import flops_per_image
from image_translation.models import Identity

LOGGED = {"loss", "l1", "gradient_generator", "learning_rate"}
OF_GAN = {"gan", "discriminator", "score_real", "score_fake", "accuracy", "gradient_discriminator"}
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
def test_rows_are_means_over_the_images(name: str, accumulate: int, comic_root: Path, tmp_path: Path) -> None:
    """Three epochs of batches of 4 and 2 images, one of them validated."""
    own, trainers = settings(name, accumulate_grad_batches=accumulate, gradient_clip_val=0.1)
    noted, logger = Noted(), CSVLogger(tmp_path, name="", version="")
    callbacks = [noted, TrainingMetrics(str(tmp_path / "rows.csv"))]
    fit(make_model(name, **own), make_data(comic_root, batch_size=4), max_epochs=3, callbacks=callbacks,
        check_val_every_n_epoch=2, logger=logger, log_every_n_steps=1, **trainers)  # fmt: skip
    rows, logged = read(tmp_path / "rows.csv"), read(tmp_path / "metrics.csv")
    updates = 2 // accumulate
    assert [(row["epoch"], row["step"]) for row in rows] == [(epoch, epoch * updates) for epoch in (1, 2, 3)]
    names = LOGGED | (OF_GAN if name == "pix2pix" else set())
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


def test_a_validation_within_an_epoch_has_a_row(name: str, comic_root: Path, tmp_path: Path) -> None:
    """Two epochs of three batches, validated after each batch; begun by a look that counts for nothing."""
    path = tmp_path / "rows.csv"
    trainer = fit(make_model(name), make_data(comic_root, batch_size=2), max_epochs=2, val_check_interval=1,
                  num_sanity_val_steps=1, callbacks=[TrainingMetrics(str(path))])  # fmt: skip
    rows = read(path)
    assert [(row["epoch"], row["step"]) for row in rows] == [(1, 1), (1, 2), (1, 3), (2, 4), (2, 5), (2, 6)]
    assert all(row.keys() >= VAL for row in rows)
    assert ["train/l1" in row for row in rows] == [False, False, True] * 2
    before = path.read_bytes()
    trainer.validate(trainer.lightning_module, trainer.datamodule, verbose=False)
    assert path.read_bytes() == before


def test_flops_are_two_for_each_multiply_add_of_the_generator(name: str) -> None:
    model = make_model(name)
    found = flops_per_image(model, SIZE, SIZE)
    assert model.training  # as it was
    assert found == 2 * sum(multiply_adds(model.generator, torch.zeros(1, 3, SIZE, SIZE))) > 0
    assert flops_per_image(Identity(), SIZE, SIZE) == 0


def test_training_time_is_without_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    trainer, module = SimpleNamespace(world_size=2), SimpleNamespace(device=torch.device("cpu"))
    hooks: Any = Throughput()
    for _ in range(3):
        hooks.on_train_epoch_start(trainer, module)
        now += 10
        hooks.on_train_batch_end(trainer, module, None, {"name": ["a", "b"]}, 0)
        hooks.on_validation_start(trainer, module)
        now += 100
        hooks.on_validation_end(trainer, module)
        now += 1
        hooks.on_train_epoch_end(trainer, module)
    assert hooks.facts["training_s"] == 33
    assert hooks.facts["training_images_per_s"] == pytest.approx(3 * 2 * 2 / 33, rel=1e-3)

    later: Any = Throughput()  # of the resumed run
    later.load_state_dict(hooks.state_dict())
    later.on_train_epoch_start(trainer, module)
    now += 7
    later.on_train_epoch_end(trainer, module)
    assert later.facts["training_s"] == 40
