"""What a command has to know of the device it computes on: its kind, what it is fast at, its memory."""

import ctypes
import platform
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

GLIBC = platform.libc_ver()[0] == "glibc"


def device_type(accelerator: str) -> str:
    """What Lightning will compute on, by the name that its trainer is given: ``cuda``, ``mps``, ``cpu`` …"""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "cuda"
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return "mps"
    return "cpu" if accelerator == "auto" else accelerator


def choose_precision(precision: str, accelerator: str) -> str:
    """``auto`` means ``bf16-mixed`` where the device has instructions for it, and ``32-true`` elsewhere.

    They are: NVIDIA's tensor cores from Ampere on; AMX or AVX512-BF16 in a CPU.
    """
    if precision != "auto":
        return precision
    device = device_type(accelerator)
    fast = (device == "cuda" and torch.cuda.get_device_capability() >= (8, 0)) or (
        device == "cpu" and (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
    )
    return "bf16-mixed" if fast else "32-true"


def prepare_device(accelerator: str) -> None:
    """Settings of torch and of the C library that make training faster and change no result that matters here.

    Called before the trainer is made, whose own options ``deterministic`` and ``benchmark`` come first.
    """
    device = device_type(accelerator)
    if device == "cuda":
        torch.backends.cudnn.benchmark = True  # shapes are fixed, so the fastest kernel is worth looking for
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    elif device == "cpu" and GLIBC:
        # By default every large tensor is new memory from the kernel, given back at once: at batch 1 a third of the
        # time went into that (docs/performance.md). Keep what is freed instead: no mmap, no trimming of the heap.
        m_trim_threshold, m_mmap_max = -1, -4  # of malloc.h
        library = ctypes.CDLL(None)
        library.mallopt(m_mmap_max, 0)
        library.mallopt(m_trim_threshold, 2**31 - 1)


def free_memory(device: torch.device) -> int | None:
    """Bytes that this process can still have of a device's memory; None where the system doesn't say."""
    if device.type == "cuda":
        own = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + own
    if device.type != "cpu":
        return None
    free = []
    if available := _kib(Path("/proc/meminfo"), "MemAvailable"):
        free.append(available + _free_in_heap())
    free += _free_in_groups(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))
    for limit, used in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):  # ulimit -v, -d
        soft, _ = resource.getrlimit(limit)
        if soft != resource.RLIM_INFINITY and (size := _kib(Path("/proc/self/status"), used)):
            free.append(soft - size + _free_in_heap())
    return max(0, min(free)) if free else None


def reset_peak_memory(device: torch.device) -> None:
    """Begin a new peak, because many runs and trials may share a process."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    if GLIBC:
        ctypes.CDLL(None).malloc_trim(0)
    if (clear := Path("/proc/self/clear_refs")).exists():
        try:
            clear.write_text("5")  # see proc(5)
        except OSError:  # not allowed in some containers: the peak is then of the whole process so far
            return


def peak_memory(device: torch.device) -> int:
    """The most bytes that were in use since ``reset_peak_memory``: the device's; on a CPU the whole process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if peak := _kib(Path("/proc/self/status"), "VmHWM"):
        return peak
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _free_in_groups(own: Path, root: Path) -> Iterator[int]:
    """Bytes that the limits of a container or a cluster's job leave: those of the process's cgroup and all above it."""
    for line in own.read_text().splitlines() if own.exists() else []:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        new = not controllers  # version 2 of cgroups
        top = root if new else root / "memory"
        names = ("memory.max", "memory.current") if new else ("memory.limit_in_bytes", "memory.usage_in_bytes")
        # In a container the path may be the host's, which is not there.
        group = top / path.lstrip("/")
        for folder in [group, *(parent for parent in group.parents if parent.is_relative_to(top))]:
            limit, used = ((folder / name).read_text().strip() if (folder / name).exists() else "" for name in names)
            if limit.isdigit() and used.isdigit():
                statistics = folder / "memory.stat"
                lines = statistics.read_text().splitlines() if statistics.exists() else []
                name = "inactive_file " if new else "total_inactive_file "  # read from disk, given up when needed
                yield int(limit) - int(used) + sum(int(line.split()[1]) for line in lines if line.startswith(name))


def _free_in_heap() -> int:
    """Bytes that the C library has from the system and would hand out again."""
    library = ctypes.CDLL(None)
    if not GLIBC or not hasattr(library, "mallinfo2"):
        return 0

    class Facts(ctypes.Structure):  # struct mallinfo2 of malloc.h: ten numbers, the ninth is the one
        _fields_ = [(f"fact{i}", ctypes.c_size_t) for i in range(1, 11)]

    library.mallinfo2.restype = Facts
    return int(library.mallinfo2().fact9)


def _kib(file: Path, name: str) -> int | None:
    """The bytes that a line ``name: … kB`` of a file in /proc stands for."""
    lines = file.read_text().splitlines() if file.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)
