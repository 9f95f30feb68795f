"""Ours, with nothing around it: the training step on images that are on the device already.

python -m benchmarks.ours <file.json> <model> <size> <options as JSON> <batch>:<steps> …
"""

import json
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import find_device
from image_translation.data.transforms import JITTER, random_crop, to_stored
from image_translation.models import ImageTranslationModule, Pix2Pix, ResUNet, UNetAutoencoder
from image_translation.training.device import choose_precision, peak_memory, prepare_device, reset_peak_memory

Batch = dict[str, Any]


def make_model(name: str, size: int, options: dict[str, Any]) -> ImageTranslationModule:
    """A model for images of ``size`` × ``size`` pixels."""
    if name == "resunet":  # for any size
        return ResUNet(**options)
    return Pix2Pix(size, **options) if name == "pix2pix" else UNetAutoencoder(size, **options)


def make_step(model: ImageTranslationModule, device: torch.device, precision: str) -> Callable[[Batch], None]:
    """A function that trains a model on one batch: its networks, losses and optimizers, without a trainer."""
    model.to(device).train()
    if device.type != "cpu":
        model.to(memory_format=torch.channels_last)
    adam = partial(torch.optim.Adam, lr=2e-4, betas=(0.5, 0.999), fused=True)

    def update(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    if isinstance(model, Pix2Pix):
        opt_g, opt_d = adam(model.generator.parameters()), adam(model.discriminator.parameters())
    else:
        opt_g = adam(model.parameters())

    def step(batch: Batch) -> None:
        with torch.autocast(device.type, torch.bfloat16) if precision != "32-true" else nullcontext():
            if isinstance(model, Pix2Pix):
                x, y = batch["input"], batch["target"]
                fake = model.generator(x)
                update(opt_d, model.discriminator_losses(x, y, fake.detach())["discriminator"])
                model.discriminator.requires_grad_(False)
                update(opt_g, model.generator_losses(x, y, fake)["loss"])
                model.discriminator.requires_grad_(True)
            else:
                update(opt_g, model.losses(batch)["loss"])

    return step


def random_batch(count: int, size: int, device: torch.device) -> Batch:
    x, y = torch.rand(2, count, 3, size, size, device=device) * 2 - 1
    return {"input": x, "target": y, "name": [""] * count}


def main(file: str, model: str, size: str, options: str, *batches: str) -> None:
    """Train on random images; write when each step ended (the first is a warm-up), and the peak of the memory."""
    prepare_device("auto")
    device = find_device()
    found = {}
    for batch, steps in (map(int, text.split(":")) for text in batches):
        module = make_model(model, int(size), json.loads(options))
        step = make_step(module, device, choose_precision("auto", "auto"))
        reset_peak_memory(device)
        data = random_batch(batch, round(int(size) * JITTER), device)
        halves = [to_stored(data[half]) for half in ("input", "target")]
        ends = []
        for index in range(steps + 1):
            x, y = random_crop(*halves, size=(int(size), int(size)))
            step({"input": x, "target": y, "name": data["name"]})
            if device.type == "cuda" and index in (0, steps):
                torch.cuda.synchronize()  # only where a time is taken, because a run doesn't wait either
            ends.append(time.perf_counter())
        found[batch] = {"ends": ends, "peak_mib": peak_memory(device) / 2**20}
        Path(file).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
