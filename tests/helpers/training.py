"""Tiny models, tiny data, and short trainings in this process."""

from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from conftest import SIZE

from image_translation.data import PairedImageDataModule
from image_translation.models import ImageTranslationModule, Pix2Pix, UNetAutoencoder
from image_translation.training.seeding import StepSeeding

MODELS: dict[str, Any] = {"pix2pix": Pix2Pix, "autoencoder": UNetAutoencoder}


def adam(lr: float) -> Any:
    """The study's optimizer with another learning rate."""
    return partial(torch.optim.Adam, lr=lr, betas=(0.5, 0.999))


def make_model(name: str, **options: Any) -> ImageTranslationModule:
    torch.manual_seed(0)
    model: ImageTranslationModule = MODELS[name](**({"image_size": SIZE, "base_channels": 4} | options))
    return model


def make_data(root: Path, **options: Any) -> PairedImageDataModule:
    defaults = {"input_folder": "face", "target_folder": "comics", "image_size": SIZE, "num_workers": 0}
    return PairedImageDataModule(task="comic", root=str(root), **(defaults | options))


def make_trainer(**options: Any) -> pl.Trainer:
    """A quiet trainer on the CPU, without loggers and checkpoints unless asked for."""
    callbacks = [StepSeeding(), *options.pop("callbacks", [])]
    defaults = {"max_epochs": 1, "enable_progress_bar": False, "enable_model_summary": False, "logger": False,
                "enable_checkpointing": False, "accelerator": "cpu", "num_sanity_val_steps": 0}  # fmt: skip
    return pl.Trainer(**(defaults | options), callbacks=callbacks)


def fit(model: ImageTranslationModule, data: PairedImageDataModule, seed: int = 0, **options: Any) -> pl.Trainer:
    """Train; options are the trainer's, and ``ckpt_path``."""
    pl.seed_everything(seed, verbose=False)
    checkpoint = options.pop("ckpt_path", None)
    trainer = make_trainer(**options)
    trainer.fit(model, datamodule=data, ckpt_path=checkpoint, weights_only=True if checkpoint else None)
    return trainer
