"""A GAN that doesn't learn is warned of, once."""

import logging
from pathlib import Path

import pytest
import torch
from conftest import SIZE
from helpers.training import fit, make_data
from torch import Tensor

from image_translation.callbacks import GANMonitor, TrainingMetrics
from image_translation.cli.errors import UserError
from image_translation.models import Pix2Pix


class Saturated(Pix2Pix):
    """Its discriminator is always right, as far as it says."""

    def discriminator_losses(self, x: Tensor, y: Tensor, fake: Tensor) -> dict[str, Tensor]:
        return super().discriminator_losses(x, y, fake) | {"accuracy": torch.ones(())}


class Constant(Pix2Pix):
    """Makes one image of everything."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 0 + torch.linspace(-1, 1, SIZE)


@pytest.mark.parametrize(("model", "texts"), [
    (Saturated, ["For 2 epochs the discriminator has classified 100.0% of all patches correctly"]),
    (Constant, ["After epoch 1 all 2 outputs of val are the same image"]),
    (Pix2Pix, []),
])  # fmt: skip
def test_collapse_is_warned_of_once(
    model: type[Pix2Pix], texts: list[str], comic_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    callbacks = [TrainingMetrics(str(tmp_path / "metrics.csv")), GANMonitor(saturated_epochs=2)]
    with caplog.at_level(logging.WARNING, "image_translation"):
        fit(model(image_size=SIZE, base_channels=4), make_data(comic_root, batch_size=3), max_epochs=5,
            callbacks=callbacks)  # fmt: skip
    warnings = [record.message for record in caplog.records if record.name.endswith("gan_monitor")]
    assert len(warnings) == len(texts)
    for text, warning in zip(texts, warnings, strict=True):
        assert text in warning
        assert "Try " in warning


@pytest.mark.parametrize(("option", "value"), [("saturated_epochs", 0), ("saturated_accuracy", 0.1)])
def test_options_out_of_range(option: str, value: float) -> None:
    with pytest.raises(UserError, match=f"^{option} must be"):
        GANMonitor(**{option: value})
