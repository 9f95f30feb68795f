"""A GAN that does not learn is warned of, once."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SIZE
from helpers.training import fit, make_data
from torch import Tensor

from image_translation.callbacks import GANMonitor, TrainingMetrics
from image_translation.models import Pix2Pix


class Saturated(Pix2Pix):
    """Its discriminator classifies all patches correctly, as far as it says."""

    def discriminator_losses(self, *images: Tensor) -> dict[str, Tensor]:
        return super().discriminator_losses(*images) | {"accuracy": torch.ones(())}


class Constant(Pix2Pix):
    """Makes one image of everything."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 0 + torch.linspace(-1, 1, SIZE)


@pytest.mark.parametrize(("model", "text"), [
    (Saturated, "For 2 epochs the discriminator has classified 100.0% of all patches correctly"),
    (Constant, "After epoch 1 all outputs of val are the same image"),
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
