"""A command in a process of its own, without the seconds that importing torch takes each time.

A server has imported what a command needs, and is forked for each one: multiprocessing's "forkserver".
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
from pathlib import Path

import torch

PRELOAD = [
    "torch", "torchvision", "pytorch_lightning", "torchmetrics", "hydra._internal.utils", "scipy.stats",
    "image_translation.training.batch_size", "image_translation.callbacks", "image_translation.data",
    "image_translation.models",
]  # fmt: skip
TIMEOUT = 300


def run_module(
    module: str, arguments: list[str], folder: Path, environment: dict[str, str], files: Path
) -> subprocess.CompletedProcess[str]:
    """What ``python -m module arguments…`` gives in a folder and with an environment; ``files`` takes its output."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    outputs = [files / name for name in ("stdout.txt", "stderr.txt")]
    process = context.Process(target=_child, args=(module, arguments, folder, environment, outputs))
    process.start()
    process.join(TIMEOUT)
    if process.exitcode is None:
        process.kill()
        raise subprocess.TimeoutExpired(module, TIMEOUT)
    return subprocess.CompletedProcess([module, *arguments], process.exitcode, *(file.read_text() for file in outputs))


def _child(module: str, arguments: list[str], folder: Path, environment: dict[str, str], outputs: list[Path]) -> None:
    for number, file in enumerate(outputs, start=1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[0] = str(folder)
    sys.argv[:] = [module, *arguments]
    torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))  # it has read the variable long ago
    runpy.run_module(module, run_name="__main__", alter_sys=True)
