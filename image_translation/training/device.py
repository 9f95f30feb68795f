"""The device that a command computes on: its type, precision, settings and memory."""

import ctypes
import platform
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

try:
    import resource
except ImportError:  # on Windows
    resource: Any = None  # type: ignore[no-redef]

GLIBC = platform.libc_ver()[0] == "glibc"
PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def device_type(accelerator: str) -> str:
    """The type of device that ``Trainer(accelerator=…)`` chooses: ``cuda``, ``mps``, ``cpu`` …"""
    if accelerator not in ("auto", "gpu"):
        return accelerator
    gpu = torch.accelerator.current_accelerator(check_available=True)
    return gpu.type if gpu else "cpu"


def choose_precision(precision: str, accelerator: str) -> str:
    """``auto`` is ``bf16-mixed`` on NVIDIA GPUs from Ampere on and CPUs with AMX or AVX512-BF16, else ``32-true``."""
    if precision != "auto":
        return precision
    device, cpu = device_type(accelerator), torch.cpu.get_capabilities()
    if device == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = device == "cpu" and (cpu.get("amx_bf16") or cpu.get("avx512_bf16"))
    return "bf16-mixed" if fast else "32-true"


def prepare_device(accelerator: str) -> None:
    """Make training faster by settings of torch and the C library. Call it before the Trainer is made."""
    device = device_type(accelerator)
    if device == "cuda":
        torch.backends.cudnn.benchmark = True  # shapes are fixed, so searching for the fastest kernel pays off
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    elif device == "cpu" and GLIBC:
        # By default glibc gets memory for each large tensor from the kernel and returns it at once. At batch 1 this
        # takes a third of the time (docs/performance.md), so keep freed memory: no mmap, no trimming of the heap.
        ctypes.CDLL(None).mallopt(-4, 0)  # M_MMAP_MAX in malloc.h
        ctypes.CDLL(None).mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def trim_memory() -> None:
    """Give freed memory back to the kernel, which ``prepare_device`` keeps: before something large is made."""
    if GLIBC:
        ctypes.CDLL(None).malloc_trim(0)


def free_memory(device: torch.device) -> int | None:
    """Free bytes of a device's memory, None if unknown. On a CPU, at most the limit of a container or cluster job."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type != "cpu" or not (PROC / "meminfo").exists():
        return None
    limits = [1024 * int(kib) for kib in re.findall(r"MemAvailable:\s+(\d+)", (PROC / "meminfo").read_text())]
    own = CGROUPS / (PROC / "self/cgroup").read_text().rpartition("0::/")[2].strip() / "memory.max"
    groups = [(group / own.name).read_text().strip() for group in own.parents if (group / own.name).exists()]
    return min(limits + [int(limit) for limit in groups if limit != "max"])


def reset_peak_memory(device: torch.device) -> None:
    """Start a new measurement for ``peak_memory``."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif GLIBC:
        ctypes.CDLL(None).malloc_trim(0)
        with suppress(OSError):  # some containers forbid it: the peak is then the one since the process started
            (PROC / "self/clear_refs").write_text("5")  # see proc(5)


def peak_memory(device: torch.device) -> int:
    """The most bytes in use since ``reset_peak_memory``: of a GPU's memory, or else of this process (0 on Windows)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if resource is None:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
