"""Tiny models, tiny data, and short trainings in this process."""

from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from conftest import SIZE
from pytorch_lightning.callbacks import Checkpoint
from torch import nn

from image_translation.data import PairedImageDataModule
from image_translation.models import ImageTranslationModule, Pix2Pix, UNetAutoencoder
from image_translation.training.seeding import StepSeeding

MODELS: dict[str, Any] = {"pix2pix": Pix2Pix, "autoencoder": UNetAutoencoder}
NAMES = tuple(MODELS)  # two optimizers, and one
PLAIN = {"jitter": False, "hflip": False}  # for make_data
SGD = partial(torch.optim.SGD, lr=0.01)  # shows a wrong scale of a loss, which Adam would hide


def adam(lr: float) -> Any:
    """The study's optimizer with another learning rate."""
    return partial(torch.optim.Adam, lr=lr, betas=(0.5, 0.999))


def make_model(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    return MODELS[name](**({"image_size": SIZE, "base_channels": 4} | options))


def without_dropout(name: str, **options: Any) -> Any:
    return make_model(name, **options, **({"dropout": 0.0} if name == "pix2pix" else {}))


def settings(name: str, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of the model and of the trainer: Pix2Pix clips and accumulates by itself."""
    return (options, {}) if name == "pix2pix" else ({}, options)


def make_data(root: Path, **options: Any) -> PairedImageDataModule:
    defaults = {"input_folder": "face", "target_folder": "comics", "image_size": SIZE, "num_workers": 0}
    return PairedImageDataModule(task="comic", root=str(root), **(defaults | options))


def make_trainer(**options: Any) -> pl.Trainer:
    """A quiet trainer on the CPU, without loggers unless asked for."""
    callbacks = [StepSeeding(), *options.pop("callbacks", [])]
    saves = any(isinstance(callback, Checkpoint) for callback in callbacks)
    defaults = {"max_epochs": 1, "enable_progress_bar": False, "enable_model_summary": False, "logger": False,
                "enable_checkpointing": saves, "accelerator": "cpu", "num_sanity_val_steps": 0}  # fmt: skip
    return pl.Trainer(**(defaults | options), callbacks=callbacks)


def fit(model: ImageTranslationModule, data: PairedImageDataModule, seed: int = 0, **options: Any) -> pl.Trainer:
    """Train; options are the trainer's, and ``ckpt_path``."""
    pl.seed_everything(seed, verbose=False)
    checkpoint = options.pop("ckpt_path", None)
    trainer = make_trainer(**options)
    trainer.fit(model, datamodule=data, ckpt_path=checkpoint, weights_only=True if checkpoint else None)
    return trainer


def moved_alike(one: Any, other: Any, start: Any, tolerance: float = 0.01) -> None:
    """Check that training has moved two models from ``start`` to the same weights."""
    moves = []
    for (name, a), b, before in zip(one.named_parameters(), other.parameters(), start.parameters(), strict=True):
        moves.append((a - before).norm().item())
        assert (a - b).norm() <= tolerance * moves[-1] + 1e-7, name
    assert max(moves) > 1e-3


def multiply_adds(network: nn.Module, x: torch.Tensor) -> list[int]:
    """Those of each convolution, in the order of the computation, from the shapes that pass through it."""
    counts: list[int] = []

    def count(layer: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        positions = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output  # where the kernel is laid
        counts.append(len(x) * positions[0, 0].numel() * layer.weight.numel())

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(count)
    network.eval()(x)
    return counts


def rates_of(schedule: Any, steps: int, lr: float = 1.0, **options: Any) -> list[float]:
    """The learning rates that a schedule gives to an optimizer of its own."""
    optimizer = torch.optim.Adam([torch.zeros(1)], lr=lr)
    advancing, rates = schedule(optimizer, **options), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        advancing.step()
    return rates
