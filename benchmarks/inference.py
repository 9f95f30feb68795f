"""Evaluation (translation, metrics, saved images) and prediction alone, in images a second.

python -m benchmarks.inference <pairs> <file.json>
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from benchmarks.ours import MODELS
from image_translation.callbacks import TestResultsWriter
from image_translation.data import PairedImageDataModule
from image_translation.training.device import choose_precision, prepare_device
from image_translation.training.session import silence_lightning


class Clock(pl.Callback):
    """Times from the end of the first batch to the end of the last."""

    def __init__(self) -> None:
        self.ends: list[tuple[float, int]] = []

    def on_test_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        self.ends.append((time.perf_counter(), len(batch["name"])))

    def on_predict_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        self.on_test_batch_end(trainer, pl_module, outputs, batch)

    @property
    def rate(self) -> float:
        return sum(count for _, count in self.ends[1:]) / (self.ends[-1][0] - self.ends[0][0])


def main(root: str, file: str) -> None:
    silence_lightning()
    prepare_device("auto")
    data = PairedImageDataModule("comic", root, input_folder="face", target_folder="comics", eval_batch_size=4)
    rates: dict[str, dict[str, float]] = {}
    precision: Any = choose_precision("auto", "auto")
    for name, model in MODELS.items():
        rates[name] = {}
        for work in ("test", "predict"):
            with tempfile.TemporaryDirectory() as folder:
                callbacks = [clock := Clock(), *([TestResultsWriter(folder)] if work == "test" else [])]
                trainer = pl.Trainer(
                    accelerator="auto", devices=1, precision=precision, callbacks=callbacks,
                    logger=False, enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
                )  # fmt: skip
                (trainer.test if work == "test" else trainer.predict)(model(), datamodule=data)
                rates[name][work] = clock.rate
    Path(file).write_text(json.dumps(rates))


if __name__ == "__main__":
    main(*sys.argv[1:])
