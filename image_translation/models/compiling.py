"""torch.compile for the networks of a model."""

import torch
from torch import nn

COMPILE = ("off", "default", "max")


def compile_networks(model: nn.Module, mode: str, batches_per_step: int) -> None:
    """Compile a model's networks in place, so that the names of their weights stay; ``max`` uses CUDA graphs."""
    torch.compiler.reset()  # what earlier jobs of a sweep compiled counts against a limit
    options = {}
    if mode == "max":  # a CUDA graph would overwrite accumulated gradients
        options["mode"] = "max-autotune" if batches_per_step == 1 else "max-autotune-no-cudagraphs"
    for network in model.children():
        if any(True for _ in network.parameters()):
            network.compile(dynamic=False, **options)
