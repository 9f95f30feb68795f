"""Sharpness against scipy's filter, and in the metrics of an evaluation."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command, read_json, succeeded
from PIL import Image
from scipy.ndimage import gaussian_filter

from image_translation.metrics.sharpness import Sharpness


def energy(image: np.ndarray) -> float:
    """Of the details of an image (H, W, 3) in [0, 1], plus the variance of rounding to 8 bits."""
    padded = np.pad(image, ((3, 3), (3, 3), (0, 0)), mode="reflect")
    blurred = gaussian_filter(padded, (1, 1, 0), truncate=3)[3:-3, 3:-3]
    return float(np.mean((image - blurred) ** 2)) + 1 / (12 * 255**2)


def sharpness(output: np.ndarray, target: np.ndarray) -> float:
    metric = Sharpness()
    metric.update(*(torch.from_numpy(image).permute(2, 0, 1)[None].float() for image in (output, target)))
    return float(metric.compute())


def test_it_is_the_ratio_of_fine_details() -> None:
    target = np.random.default_rng(0).random((40, 30, 3))
    blurred = gaussian_filter(target, (1, 1, 0))
    assert sharpness(blurred, target) == pytest.approx(energy(blurred) / energy(target), rel=1e-4)
    assert sharpness(blurred, target) < 0.2
    assert sharpness(target, target) == pytest.approx(1)
    assert sharpness(2 * target, target) == pytest.approx(4, rel=1e-3)
    flat = np.full((40, 30, 3), 0.5)
    assert sharpness(flat, flat) == pytest.approx(1)


def test_evaluate_adds_it_without_any_weights(finished_run: Path, command: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    succeeded(command("evaluate", f"run={finished_run}", "perceptual=[sharpness,vif]", f"output={out}"))
    found = read_json(out / "test" / "metrics.json")
    folders = (finished_run / "test" / kind for kind in ("images", "targets"))
    images = [[np.asarray(Image.open(path)) / 255 for path in sorted(folder.iterdir())] for folder in folders]
    expected = np.mean([energy(output) / energy(target) for output, target in zip(*images, strict=True)])
    assert found["perceptual/sharpness"] == pytest.approx(expected, rel=1e-3)
    assert 0 < found["perceptual/vif"] < 1
    refused = command("evaluate", f"run={finished_run}", "perceptual=msssim", f"output={tmp_path / 'small'}")
    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: perceptual=msssim: ")  # images of 64 pixels
