"""The color curve: least squares over all training pixels, as numpy finds them."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, TINY_AUTOENCODER, Command, read_csv, read_json, succeeded
from numpy.typing import NDArray
from torch import Tensor

from image_translation.networks import ColorCurve


def images(seed: int, channels: int = 3, count: int = 4) -> Tensor:
    return torch.rand(count, channels, 16, 24, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def pixels(batch: Tensor) -> NDArray[np.float64]:
    return batch.permute(0, 2, 3, 1).reshape(-1, batch.shape[1]).double().numpy()


def cubic_terms(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """All products of at most three channels."""
    powers = [p for p in itertools.product(range(4), repeat=x.shape[1]) if sum(p) <= 3]
    return np.stack([np.prod(x ** np.array(p), axis=1) for p in powers], axis=1)


@pytest.mark.parametrize(("inputs", "outputs"), [(3, 3), (1, 3), (3, 1), (2, 4)])
def test_it_is_the_least_squares_fit(inputs: int, outputs: int) -> None:
    x, y = images(0, inputs), images(1, outputs)
    curve = ColorCurve(inputs, outputs)
    curve.fit([(x[:1], y[:1]), (x[1:], y[1:])])  # whatever the batches
    terms = cubic_terms(pixels(x))
    expected = terms @ np.linalg.lstsq(terms, pixels(y), rcond=None)[0]
    assert np.abs(pixels(curve(x)) - expected).max() < 1e-3


def test_until_it_is_fitted_it_changes_nothing() -> None:
    x = images(0)
    assert torch.equal(ColorCurve()(x), x)
    assert torch.equal(ColorCurve(1, 3)(x[:, :1]), x[:, :1].expand(-1, 3, -1, -1))


def test_colors_that_it_has_not_seen_stay_near_their_own() -> None:
    """Gray training images say nothing about colors."""
    gray = images(0, 1).expand(-1, 3, -1, -1)
    curve = ColorCurve()
    curve.fit([(gray, 0.5 * gray)])
    assert torch.allclose(curve(gray), 0.5 * gray, atol=1e-4)
    assert curve(images(1)).abs().max() < 3


@pytest.mark.parametrize("options", [["callbacks=ema"], ["trainer=ddp", "trainer.devices=2"]])
def test_the_averaged_weights_and_several_devices_change_nothing(
    options: list[str], comic_root: Path, command: Command, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    succeeded(command("train", *TINY, f"data.root={comic_root}", "model=color_curve", f"hydra.run.dir={run}", *options))
    scores = read_json(run / "test" / "metrics.json")
    assert scores["test/mse"] == scores["color_curve/mse"] < scores["identity/mse"] / 2


def test_it_can_be_tried(comic_root: Path, command: Command, tmp_path: Path) -> None:
    result = succeeded(
        command("train", *TINY, f"data.root={comic_root}", "model=color_curve", "trainer.fast_dev_run=true")
    )
    assert "Nothing is kept" in result.stdout
    assert not list((tmp_path / "cwd").rglob("run.json"))


def test_its_scores_stand_beside_every_model(comic_root: Path, command: Command, tmp_path: Path) -> None:
    options = (f"data.root={comic_root}", "seed=0")
    succeeded(command("train", *TINY, *options, "model=color_curve", f"hydra.run.dir={tmp_path / 'curve'}"))
    result = succeeded(command("train", *TINY_AUTOENCODER, *options, f"hydra.run.dir={tmp_path / 'other'}",
                               "trainer.max_epochs=2"))  # fmt: skip
    scores, beside = (read_json(tmp_path / run / "test" / "metrics.json") for run in ("curve", "other"))
    for metric in ("mse", "psnr", "ssim"):
        assert scores[f"test/{metric}"] == scores[f"color_curve/{metric}"] == beside[f"color_curve/{metric}"]
    assert scores["test/mse"] < scores["identity/mse"] / 2  # the targets are negatives
    rows = read_csv(tmp_path / "curve" / "test" / "per_image.csv")
    assert rows == read_csv(tmp_path / "other" / "test" / "color_curve.csv")
    assert "Below color_curve in PSNR and SSIM: autoencoder has learned no structure yet." in result.stdout
    again = succeeded(command("evaluate", f"run={tmp_path / 'other'}", "split=val"))
    assert "color_curve" in again.stdout
