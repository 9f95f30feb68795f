"""A model at work: its network alone, and from files to files as ``predict`` does it.

python -m benchmarks.use <file.json> <model> <size> <options as JSON> <folder of images> <count>
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image

from benchmarks import find_device
from benchmarks.machine import median_time
from benchmarks.ours import make_model, random_batch
from image_translation import predict_folder
from image_translation.inference.files import BATCH, BATCH_PIXELS
from image_translation.training.device import choose_precision, prepare_device


def main(file: str, name: str, size: str, options: str, images: str, count: str) -> None:
    prepare_device("auto")
    device, precision, side = find_device(), choose_precision("auto", "auto"), int(size)
    model = make_model(name, side, json.loads(options)).to(device).eval()
    if device.type != "cpu":
        model.to(memory_format=torch.channels_last)
    batch = max(1, min(BATCH, BATCH_PIXELS // side**2))
    x = random_batch(batch, side, device)["input"]
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=precision != "32-true"):
        network = batch / median_time(lambda: model(x), device)
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder, "in"), Path(folder, "out")
        source.mkdir()
        for index, path in enumerate(sorted(Path(images).iterdir())[: int(count)]):
            Image.open(path).resize((side, side)).save(source / f"{index}.jpg", quality=92)
        total = len(list(source.iterdir()))
        predict_folder(model, source, output, precision=precision)
        start = time.perf_counter()
        predict_folder(model, source, output, if_exists="overwrite", precision=precision)
        seconds = time.perf_counter() - start
    Path(file).write_text(json.dumps({"network": network, "predict": total / seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
