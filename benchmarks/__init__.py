"""What the figures of docs/performance.md come from: ``make bench``, and ``make gpu``."""

import os
import re
from pathlib import Path

import torch

PROJECT = Path(__file__).parents[1]
RESULTS, PAGE = PROJECT / "benchmarks" / "results", PROJECT / "docs" / "performance.md"
MODELS = ("pix2pix", "autoencoder", "resunet")
TEXTBOOK = MODELS[:2]  # the models that it has


def python_environment() -> dict[str, str]:
    """The environment of commands that are run from here."""
    paths = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1", "WANDB_MODE": "offline"}


def find_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    facts = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    name = next((line.split(":")[1].strip() for line in facts.splitlines() if line.startswith("model name")), "CPU")
    bf16 = "AMX" if "amx_bf16" in facts else "AVX512-BF16" if "avx512_bf16" in facts else "no bf16"
    return f"{name}, {torch.get_num_threads()} cores, {bf16}"


def file_name(device: str) -> str:
    """The result file of a device."""
    return f"{re.sub('[^A-Za-z0-9]+', '-', device).strip('-')}.json"
