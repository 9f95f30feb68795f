"""What is known of the device, and the settings made for it."""

import os
import sys
from pathlib import Path

import pytest
import torch

from image_translation.training import device as devices

CPU, AMX, AVX512 = torch.device("cpu"), {"amx_bf16": True}, {"avx512_bf16": True}


@pytest.mark.parametrize(("accelerator", "gpu", "capabilities", "device", "precision"), [
    ("auto", None, {}, "cpu", "32-true"),
    ("auto", None, AMX, "cpu", "bf16-mixed"),
    ("cpu", "cuda", AVX512, "cpu", "bf16-mixed"),
    ("cpu", "cuda", {}, "cpu", "32-true"),
    ("auto", "cuda", {}, "cuda", "bf16-mixed"),
    ("gpu", "old cuda", AMX, "cuda", "32-true"),  # it emulates bfloat16, slowly
    ("auto", "mps", AVX512, "mps", "32-true"),
])  # fmt: skip
def test_bf16_where_the_device_is_fast_at_it(
    accelerator: str, gpu: str | None, capabilities: dict[str, bool], device: str, precision: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    found = torch.device(gpu.split()[-1]) if gpu else None
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: found)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **emulation: gpu == "cuda" or any(emulation.values()))
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert devices.device_type(accelerator) == device
    assert devices.choose_precision("auto", accelerator) == precision
    assert devices.choose_precision("16-mixed", accelerator) == "16-mixed"


def test_free_memory_is_at_most_the_machines() -> None:
    free = devices.free_memory(CPU)
    assert free is not None
    assert 0 < free <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert devices.free_memory(torch.device("meta")) is None


@pytest.mark.parametrize(("groups", "limits", "expected"), [
    ("0::/", {}, 800 * 1024),
    ("0::/job/step", {"job/step": "max", "job": "500000", "": "700000"}, 500000),
    ("0::/job", {"job": "900000", "other": "5000"}, 800 * 1024),
    ("1:cpu:/\n0::/path/of/the/host", {"": "400000"}, 400000),
], ids=["none", "parent", "larger", "container"])  # fmt: skip
def test_limits_of_containers_and_jobs_count(
    groups: str, limits: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "cgroup").write_text(f"{groups}\n")
    (tmp_path / "meminfo").write_text("MemTotal:  9 kB\nMemAvailable:  800 kB\n")
    for group, limit in limits.items():
        (tmp_path / "cgroup" / group).mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup" / group / "memory.max").write_text(f"{limit}\n")
    monkeypatch.setattr(devices, "PROC", tmp_path)
    monkeypatch.setattr(devices, "CGROUPS", tmp_path / "cgroup")
    assert devices.free_memory(CPU) == expected


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak is of the whole process")
def test_the_peak_is_of_what_came_since() -> None:
    devices.reset_peak_memory(CPU)
    before = devices.peak_memory(CPU)
    ballast = torch.ones(2**27, dtype=torch.uint8)
    assert devices.peak_memory(CPU) - before == pytest.approx(2**27, rel=0.2)
    del ballast
    devices.reset_peak_memory(CPU)
    assert devices.peak_memory(CPU) - before < 2**26


@pytest.mark.gpu
def test_settings_and_memory_of_cuda() -> None:
    devices.prepare_device("gpu")
    assert torch.backends.cudnn.benchmark
    assert torch.backends.cuda.matmul.allow_tf32
    device = torch.device("cuda")
    assert 0 < (devices.free_memory(device) or 0) <= torch.cuda.get_device_properties(0).total_memory
    devices.reset_peak_memory(device)
    ballast = torch.zeros(2**26, dtype=torch.uint8, device=device)
    assert devices.peak_memory(device) >= 2**26
    del ballast
    devices.reset_peak_memory(device)
    assert devices.peak_memory(device) < torch.cuda.memory_allocated() + 2**26
