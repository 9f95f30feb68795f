"""Losses and gradients that are not finite end a run; a GAN that doesn't learn is warned of."""

import logging
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from conftest import SIZE, TINY_PIX2PIX, Command, succeeded
from torch import Tensor

from image_translation.callbacks import Divergence, GANMonitor, LastCheckpoint
from image_translation.cli.errors import UserError
from image_translation.data import PairedImageDataModule
from image_translation.losses.adversarial import GAN_LOSSES
from image_translation.models import Pix2Pix
from image_translation.runs.folder import read_manifest


class Poisoned(Pix2Pix):
    """Learns well up to one step, where a loss or one number of a gradient is spoilt."""

    def __init__(self, step: int, what: str, value: float) -> None:
        super().__init__(image_size=SIZE, base_channels=4)
        self.step, self.what, self.value, self.names = step, what, value, list[str]()
        weight = next(self.generator.parameters())
        weight.register_hook(lambda gradient: self._spoil(gradient) if what == "gradient" else gradient)

    def _spoil(self, tensor: Tensor) -> Tensor:
        if self.global_step != self.step:
            return tensor
        tensor = tensor.clone()
        tensor[(0,) * tensor.ndim] = self.value
        return tensor

    def optimize(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        if self.global_step == self.step:
            self.names = batch["name"]
        losses = super().optimize(batch)
        return losses | {"l1": self._spoil(losses["l1"].detach())} if self.what == "loss" else losses


def train(model: Pix2Pix, root: Path, *callbacks: pl.Callback, **options: Any) -> None:
    pl.seed_everything(0, verbose=False)
    data = PairedImageDataModule("comic", str(root), input_folder="face", target_folder="comics", image_size=SIZE,
                                 num_workers=0, batch_size=2)  # fmt: skip
    pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False, callbacks=[*callbacks],
        enable_checkpointing=any(isinstance(callback, LastCheckpoint) for callback in callbacks),
        **({"max_epochs": 3} | options),
    ).fit(model, datamodule=data)  # fmt: skip


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("what", ["loss", "gradient"])
@pytest.mark.parametrize("together", [False, True])
def test_the_step_and_its_images_are_named(
    what: str, value: float, together: bool, comic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, divergence = Poisoned(4, what, value), Divergence()
    if together:  # as on a GPU: several steps are looked at together, before a state is written at the latest
        monkeypatch.setattr(divergence, "_looks_at_each", lambda *_: False)
    state = LastCheckpoint(str(tmp_path), every_n_steps=5 if together else 1)
    with pytest.raises(UserError, match=r"Training has diverged at step 5: .*(nan|inf)") as raised:
        train(model, comic_root, divergence, state)
    assert len(model.names) == 2
    assert f"Images: {', '.join(model.names)}." in str(raised.value)
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert kept["global_step"] == (3 if together else 4)
    assert all(bool(value.isfinite().all()) for value in kept["state_dict"].values())
    moments = [values for optimizer in kept["optimizer_states"] for values in optimizer["state"].values()]
    assert all(bool(value.isfinite().all()) for values in moments for value in values.values())


def test_a_run_that_diverges_fails_with_one_message(comic_root: Path, command: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = command("train", *TINY_PIX2PIX, f"data.root={comic_root}", f"hydra.run.dir={run}", "trainer.max_epochs=5",
                     "model.learning_rate=1e20", "checkpoint.every_n_steps=1")  # fmt: skip
    assert result.returncode == 1
    assert "Error: Training has diverged at step" in result.stderr
    assert "Images: train" in result.stderr
    assert "Traceback" not in result.stderr
    assert read_manifest(run)["status"] == "failed"
    assert "diverged" in read_manifest(run)["error"]


def test_health_is_logged(comic_root: Path, command: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    succeeded(command("train", *TINY_PIX2PIX, f"data.root={comic_root}", f"hydra.run.dir={run}"))
    header, row = (run / "metrics.csv").read_text().splitlines()
    values = dict(zip(header.split(","), map(float, row.split(",")), strict=True))
    assert 0 <= values["train/accuracy"] <= 1
    assert values["train/gradient_generator"] > 0
    assert values["train/gradient_discriminator"] > 0
    assert values["train/loss_ratio"] == pytest.approx(values["train/gan"] / values["train/discriminator"], rel=1e-4)


@pytest.mark.parametrize("clip", [0.0, 0.5])
def test_the_norms_are_those_of_all_gradients(clip: float, comic_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, norms = Pix2Pix(image_size=SIZE, base_channels=4, gradient_clip_val=clip), list[tuple[float, float]]()
    original = model.on_before_optimizer_step

    def watched(optimizer: torch.optim.Optimizer) -> None:
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"]]
        expected = sum(float(gradient.double().square().sum()) for gradient in gradients) ** 0.5
        name = "generator" if gradients[0].shape == next(model.generator.parameters()).shape else "discriminator"
        original(optimizer)
        norms.append((float(model.gradient_norms[f"train/gradient_{name}"]), expected))

    monkeypatch.setattr(model, "on_before_optimizer_step", watched)
    train(model, comic_root, max_epochs=1)
    assert len(norms) == 6
    for got, expected in norms:
        assert got == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("loss", "real", "fake", "expected"), [
    ("bce", [1.0, -1.0, 2.0, 3.0], [-1.0, -2.0, 1.0, 4.0], (0.75 + 0.5) / 2),
    ("hinge", [0.5, 0.5], [-0.5, -0.5], 1.0),
    ("lsgan", [0.6, 0.4], [0.4, 0.6], 0.5),
])  # fmt: skip
def test_accuracy_counts_patches(loss: str, real: list[float], fake: list[float], expected: float) -> None:
    assert GAN_LOSSES[loss].accuracy(torch.tensor(real), torch.tensor(fake)).item() == pytest.approx(expected)


class Certain(Pix2Pix):
    """Its discriminator is always right, as far as it says."""

    def optimize(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        return super().optimize(batch) | {"accuracy": torch.ones(())}


class Constant(Pix2Pix):
    """Makes one image of everything."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 0 + torch.linspace(-1, 1, SIZE)


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (Certain, "For 2 epochs the discriminator has told 100.0% of all patches right"),
        (Constant, "After epoch 1 all 2 outputs of val are the same image"),
    ],
)
def test_collapse_is_warned_of_once(
    model: type[Pix2Pix], text: str, comic_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "image_translation"):
        train(model(image_size=SIZE, base_channels=4), comic_root, GANMonitor(saturated_epochs=2), max_epochs=5)
    warnings = [record.message for record in caplog.records if record.name.endswith("gan_monitor")]
    assert len(warnings) == 1
    assert text in warnings[0]
    assert "Try " in warnings[0]


def test_a_healthy_gan_is_not_warned_of(comic_root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "image_translation"):
        train(Pix2Pix(image_size=SIZE, base_channels=4), comic_root, GANMonitor(saturated_epochs=2), max_epochs=4)
    assert not [record for record in caplog.records if record.name.endswith("gan_monitor")]
