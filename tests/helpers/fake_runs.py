"""Finished run folders without any training: images with noise, with scores by scikit-image."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from conftest import image
from omegaconf import OmegaConf
from PIL import Image
from skimage.metrics import structural_similarity

from image_translation.callbacks.panels import draw_panel
from image_translation.runs.files import write_csv

SIZE = (32, 32)
METRICS = ("mse", "psnr", "ssim")


def score(output: np.ndarray, target: np.ndarray) -> dict[str, float]:
    mse = float(np.mean((output.astype(float) - target.astype(float)) ** 2))
    ssim = structural_similarity(output, target, channel_axis=2, data_range=255, gaussian_weights=True, sigma=1.5,
                                 use_sample_covariance=False)  # fmt: skip
    return {"mse": mse, "psnr": float(10 * np.log10(255**2 / mse)) if mse else 100.0, "ssim": float(ssim)}


def make_run(
    folder: Path,
    task: str = "comic",
    model: str = "pix2pix",
    seed: int = 0,
    noise: float = 20.0,
    count: int = 3,
    status: str = "finished",
    fingerprint: str = "a" * 64,
    options: dict[str, Any] | None = None,
    train: float | None = None,
    report: dict[str, float] | None = None,
) -> Path:
    """A run whose outputs are its targets with so much ``noise`` (``train``: the noise on training images)."""
    rng = np.random.default_rng([seed, sum(map(ord, model))])
    config = OmegaConf.create({
        "seed": seed, "run": {"dir": str(folder)},
        "data": {"root": "pairs", "image_size": SIZE[0], "batch_size": 1, "resize": "crop"},
        "model": {"_target_": f"image_translation.models.{model}", "lambda_l1": 100},
        "trainer": {"max_epochs": 2, "accelerator": "auto"},
    })  # fmt: skip
    for name, value in (options or {}).items():
        OmegaConf.update(config, name, value)
    write_split(folder / "test", rng, noise, count, report or {})
    if train is not None:
        write_split(folder / "evaluate" / "train", rng, train, count, {})
    (folder / ".hydra").mkdir()
    OmegaConf.save(config, folder / ".hydra" / "config.yaml")
    curves = [{"step": 10 * e, "train/l1": 1 / e, "val/psnr": 15 + e, "val/ssim": e / 9} for e in (1, 2)]
    write_csv(folder / "metrics.csv", curves, list(curves[0]))
    images = [image(900 + i, SIZE) for i in range(2)]
    (folder / "panels").mkdir()
    for epoch in (0, 2):
        panel = draw_panel({"input": images, "target": images, "output": images[::-1] if epoch else images})
        panel.save(folder / "panels" / f"epoch_{epoch:04d}.png")
    manifest = {
        "status": status, "task": task, "model": model, "seed": seed, "started": f"2026-01-0{1 + seed}T00:00:00",
        "data": {"fingerprint": fingerprint, "sample": False, "root": "pairs",
                 "counts": {"train": count, "val": 2, "test": count}},
        "device": {"type": "cpu", "name": "x86_64", "count": 1}, "precision": "32-true", "parameters": 1_000_000,
        "epochs": 2, "steps": 20, "git_commit": "0" * 40,
        "cost": {"flops_per_image": 2e9, "training_s": 10.0 + seed, "training_images_per_s": 4.0,
                 "peak_memory_mib": 500.0},
    } | ({"error": "the disk is full\nmore"} if status == "failed" else {})  # fmt: skip
    (folder / "run.json").write_text(json.dumps(manifest))
    return folder


def write_split(folder: Path, rng: np.random.Generator, noise: float, count: int, report: dict[str, float]) -> None:
    """Write images and scores as ``TestResultsWriter`` does."""
    outputs, inputs = [], []
    for index in range(count):
        name = f"p{index:03d}"
        target, source = (np.asarray(image(seed, SIZE)) for seed in (index, index + 500))
        disturbed = target + rng.normal(0, noise * (1 + index % 3), target.shape)
        output = disturbed.clip(0, 255).round().astype(np.uint8)
        for kind, array in (("images", output), ("inputs", source), ("targets", target)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(folder / kind / f"{name}.png")
        outputs.append({"name": name} | score(output, target) | report)
        inputs.append({"name": name} | score(source, target))
    write_csv(folder / "per_image.csv", outputs, list(outputs[0]))
    write_csv(folder / "identity.csv", inputs, list(inputs[0]))
    content = {f"{split}/{m}": float(np.mean([row[m] for row in rows]))
               for split, rows in ((folder.name, outputs), ("identity", inputs)) for m in METRICS}  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(content | report | {"images": count}))


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_text(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text()))
