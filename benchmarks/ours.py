"""Ours, with nothing around it: the training step on images that are on the device already.

python -m benchmarks.ours <model> <size> <batch> <steps> <file.json> [gradient_checkpointing]
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from image_translation.data.transforms import jitter, to_uint8
from image_translation.models import ImageTranslationModule, Pix2Pix, UNetAutoencoder
from image_translation.training.batch_size import BareLoop
from image_translation.training.device import choose_precision, peak_memory, prepare_device, reset_peak_memory

WARM_UP = 1  # steps that don't count
MODELS: dict[str, Callable[..., ImageTranslationModule]] = {"pix2pix": Pix2Pix, "autoencoder": UNetAutoencoder}


def main(model: str, size: str, batch: str, steps: str, file: str, gradient_checkpointing: str = "") -> None:
    """Train on random images, and write the time at which each step ended, and the peak of the memory."""
    prepare_device("auto")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = choose_precision("auto", "auto")
    translator = MODELS[model](
        image_size=int(size), gradient_checkpointing=gradient_checkpointing == "gradient_checkpointing"
    )
    loop = BareLoop(translator, device, precision)
    reset_peak_memory(device)
    data = loop.random_batch(int(batch), int(size))
    halves = [to_uint8(data[half]) for half in ("input", "target")]
    ends = []
    for step in range(int(steps)):
        x, y = jitter(*halves)
        loop.step({"input": x, "target": y})
        if device.type == "cuda" and step in (WARM_UP - 1, int(steps) - 1):
            torch.cuda.synchronize()  # only where a time is taken, because a run doesn't wait either
        ends.append(time.perf_counter())
    Path(file).write_text(json.dumps({"ends": ends, "peak": peak_memory(device)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
