"""What the machine itself can do, and what a training step asks of it.

python -m benchmarks.machine <file.json> <size> <options of the models as JSON>
"""

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import MODELS, device_name, find_device
from benchmarks.ours import make_model, make_step, random_batch
from image_translation.training.device import choose_precision, prepare_device

MOVES_NOTHING = {
    "view", "_unsafe_view", "_reshape_alias", "expand", "permute", "transpose", "t", "slice", "select", "split",
    "split_with_sizes", "unsqueeze", "squeeze", "as_strided", "detach", "alias", "empty", "empty_like", "empty_strided",
}  # fmt: skip


def median_time(work: Callable[[], Any], device: torch.device, times: int = 7) -> float:
    """Seconds."""
    taken = []
    for _ in range(times + 1):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return sorted(taken[1:])[times // 2]


class BytesCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes that every operation reads and writes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ not in MOVES_NOTHING:
            tensors = torch.utils._pytree.tree_leaves((args, kwargs, result))
            self.bytes += sum(t.numel() * t.element_size() for t in tensors if isinstance(t, Tensor))
        return result


def step_costs(
    model: str, batch: int, size: int, options: dict[str, Any], device: torch.device, precision: str
) -> dict[str, float]:
    """Floating-point operations and bytes of one training step."""
    step = make_step(make_model(model, size, options), device, precision)
    data = random_batch(batch, size, device)
    step(data)
    with FlopCounterMode(display=False) as flops:
        step(data)
    with BytesCounter() as moved:
        step(data)
    return {"flops": flops.get_total_flops(), "bytes": moved.bytes}


def main(file: str, size: str, options: str) -> None:
    prepare_device("auto")
    device = find_device()
    precision = choose_precision("auto", "auto")
    half = torch.float32 if precision == "32-true" else torch.bfloat16
    side, batch = (8192, 64) if device.type == "cuda" else (2048, 8)
    rates = {}
    for name, kind in {"fast": half, "fp32": torch.float32}.items():
        a = torch.randn(side, side, device=device, dtype=kind)
        rates[f"matmul_{name}"] = 2 * side**3 / median_time(partial(torch.matmul, a, a), device)
        # The discriminator's heaviest convolution.
        x = torch.randn(batch, 256, 32, 32, device=device, dtype=kind).to(memory_format=torch.channels_last)
        w = torch.randn(512, 256, 4, 4, device=device, dtype=kind)
        y = F.conv2d(x, w, padding=1)
        flops = 2 * y.numel() * 256 * 16
        rates[f"conv_{name}"] = flops / median_time(partial(F.conv2d, x, w, padding=1), device)
    large = torch.randn(2**26, device=device)
    rates["bandwidth"] = 2 * large.numel() * 4 / median_time(lambda: large.mul_(1.0), device)
    costs = {
        model: {str(n): step_costs(model, n, int(size), json.loads(options), device, precision) for n in (1, 8)}
        for model in MODELS
    }
    facts = {"device": device_name(device), "kind": device.type, "torch": torch.__version__, "precision": precision}
    Path(file).write_text(json.dumps(facts | {"rates": rates, "costs": costs}))


if __name__ == "__main__":
    main(*sys.argv[1:])
