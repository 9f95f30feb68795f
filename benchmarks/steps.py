"""Callbacks that watch a real run."""

import json
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer


class StepTimes(Callback):
    """Notes the time at which each step of training and of the test ended, and the seconds spent inside steps.

    On a GPU the host runs ahead of the device, so the first and the last step of an epoch wait for it, and the seconds
    inside steps mean nothing.

    Args:
        file: where they go, as JSON.
    """

    def __init__(self, file: str) -> None:
        self.file, self.made, self.began = Path(file), time.perf_counter(), 0.0
        self.epochs: list[list[float]] = []
        self.inside: list[list[float]] = []
        self.test: list[float] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.epochs.append([])
        self.inside.append([])

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self.began = time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if pl_module.device.type == "cuda" and (not self.epochs[-1] or trainer.is_last_batch):
            torch.cuda.synchronize()
        self.epochs[-1].append(time.perf_counter())
        self.inside[-1].append(self.epochs[-1][-1] - self.began)

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self.test.append(time.perf_counter())

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        noted = {"made": self.made, "epochs": self.epochs, "inside": self.inside, "test": self.test}
        self.file.write_text(json.dumps(noted))


class Syncs(Callback):
    """Counts how often the host waits for the GPU in each step, from the second epoch on.

    The last step of an epoch is left out: there the epoch's means are fetched.

    Args:
        file: where the counts go, as JSON: for each step, and for each line of code that waited.
    """

    def __init__(self, file: str) -> None:
        self.file = Path(file)
        self.steps: list[int] = []
        self.places: Counter[str] = Counter()
        self.recorder: Any = None
        self.caught: list[warnings.WarningMessage] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        # In the first epoch, images and kernels come to the device. Before the first batch a checkpoint may be saved.
        if trainer.current_epoch and batch_idx == 0:
            set_sync_warnings("warn", pl_module.device)
            self.recorder = warnings.catch_warnings(record=True)
            self.caught = self.recorder.__enter__()
            warnings.simplefilter("always")

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if self.recorder is None:
            return
        if trainer.is_last_batch:
            self.recorder = self.recorder.__exit__(None, None, None)
            set_sync_warnings("default", pl_module.device)
            return
        waits = [warning for warning in self.caught if "synchronizing CUDA operation" in str(warning.message)]
        self.steps.append(len(waits))
        self.places.update(f"{'/'.join(Path(wait.filename).parts[-3:])}:{wait.lineno}" for wait in waits)
        self.caught.clear()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.file.write_text(json.dumps({"steps": self.steps, "places": self.places}))


def set_sync_warnings(mode: str, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode(mode)
