"""A GAN that does not learn is warned of, once."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SIZE
from helpers.training import fit, make_data, make_model
from torch import Tensor

from image_translation.callbacks import GANMonitor, TrainingMetrics
from image_translation.models import Pix2Pix


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


def test_the_logged_norms_are_those_of_all_gradients(
    comic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before they are clipped."""
    model, norms = make_model("pix2pix", gradient_clip_val=0.5), list[tuple[float, float]]()
    original = model.on_before_optimizer_step

    def watched(optimizer: torch.optim.Optimizer) -> None:
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"]]
        expected = sum(float(gradient.double().square().sum()) for gradient in gradients) ** 0.5
        name = "generator" if gradients[0].shape == next(model.generator.parameters()).shape else "discriminator"
        original(optimizer)
        norms.append((float(model.gradient_norms[f"gradient_{name}"]), expected))

    monkeypatch.setattr(model, "on_before_optimizer_step", watched)
    callbacks = [TrainingMetrics(str(tmp_path / "metrics.csv"))]
    trainer = fit(model, make_data(comic_root, batch_size=2), callbacks=callbacks)
    assert len(norms) == 6
    for got, expected in norms:
        assert got == pytest.approx(expected, rel=1e-4)
    assert norms[1][1] > 0.5  # it was clipped
    mean = sum(expected for _, expected in norms[1::2]) / 3  # the generator's
    assert trainer.callback_metrics["train/gradient_generator"].item() == pytest.approx(mean, rel=1e-4)
