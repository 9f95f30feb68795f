"""What is known of the device, and the settings made for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import PROJECT

from image_translation.training.device import (
    _free_in_groups,
    choose_precision,
    device_type,
    free_memory,
    peak_memory,
    prepare_device,
    reset_peak_memory,
)

CPU = torch.device("cpu")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine without anything."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return monkeypatch


@pytest.mark.parametrize("accelerator", ["auto", "cpu"])
def test_bf16_where_the_cpu_is_fast_at_it(accelerator: str, machine: pytest.MonkeyPatch) -> None:
    assert choose_precision("auto", accelerator) == "32-true"
    for feature in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        with machine.context() as patch:
            patch.setattr(torch.cpu, feature, lambda: True)
            assert choose_precision("auto", accelerator) == "bf16-mixed"
            for precision in ("32-true", "16-mixed"):
                assert choose_precision(precision, accelerator) == precision


@pytest.mark.parametrize(
    ("capability", "precision"), [((7, 5), "32-true"), ((8, 0), "bf16-mixed"), ((9, 0), "bf16-mixed")]
)
def test_bf16_from_ampere_on(capability: tuple[int, int], precision: str, machine: pytest.MonkeyPatch) -> None:
    machine.setattr(torch.cuda, "is_available", lambda: True)
    machine.setattr(torch.cuda, "get_device_capability", lambda: capability)
    for accelerator in ("auto", "gpu", "cuda"):
        assert device_type(accelerator) == "cuda"
        assert choose_precision("auto", accelerator) == precision
    assert device_type("cpu") == "cpu"
    assert choose_precision("auto", "cpu") == "32-true"


def test_no_bf16_on_apples_gpu(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(torch.backends.mps, "is_available", lambda: True)
    assert device_type("auto") == "mps"
    assert choose_precision("auto", "auto") == "32-true"


def test_free_memory_is_at_most_the_machines() -> None:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    free = free_memory(CPU)
    assert free is not None
    assert 0 < free <= pages
    assert free_memory(torch.device("meta")) is None


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_a_limit_of_the_process_counts(limit: str) -> None:
    """It can be used up to a small rest, and not by more."""
    code = f"""if True:
        import resource, torch
        from image_translation.device import free_memory, prepare_device
        prepare_device("cpu")
        kind = resource.{limit}
        name = "VmSize" if kind == resource.RLIMIT_AS else "VmData"
        used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name)) * 1024
        resource.setrlimit(kind, (used + 400 * 2**20, resource.RLIM_INFINITY))
        free = free_memory(torch.device("cpu"))
        assert 390 * 2**20 < free < 600 * 2**20, free
        most = torch.empty(int(free - 40 * 2**20), dtype=torch.uint8)
        try:
            torch.empty(80 * 2**20, dtype=torch.uint8)
        except RuntimeError:
            print("full")
    """
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.stdout.strip() == "full", result.stderr


def test_limits_of_containers_and_jobs_count(tmp_path: Path) -> None:
    """Those of the own group and of all above it, in both versions of cgroups; what is only cached counts as free."""

    def group(folder: Path, **files: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name.replace("__", ".")).write_text(text)

    own, root = tmp_path / "cgroup", tmp_path / "new"
    own.write_text("0::/job/step\n")
    group(root / "job" / "step", memory__max="max", memory__current="70")
    group(root / "job", memory__max="100\n", memory__current="80\n", memory__stat="anon 50\ninactive_file 30\n")
    assert list(_free_in_groups(own, root)) == [100 - 80 + 30]

    own.write_text("4:cpu,cpuacct:/\n3:memory:/host/path/of/a/container\n")
    group(tmp_path / "old" / "memory", memory__limit_in_bytes="90", memory__usage_in_bytes="40",
          memory__stat="inactive_file 1\ntotal_inactive_file 5\n")  # fmt: skip
    assert list(_free_in_groups(own, tmp_path / "old")) == [90 - 40 + 5]
    assert list(_free_in_groups(tmp_path / "none", root)) == []


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak is of the whole process")
def test_the_peak_is_of_what_came_since() -> None:
    reset_peak_memory(CPU)
    before = peak_memory(CPU)
    ballast = torch.ones(2**27, dtype=torch.uint8)
    assert peak_memory(CPU) - before == pytest.approx(2**27, rel=0.2)
    del ballast
    reset_peak_memory(CPU)
    assert peak_memory(CPU) - before < 2**26


@pytest.mark.gpu
def test_settings_of_cuda() -> None:
    prepare_device("gpu")
    assert torch.backends.cudnn.benchmark
    assert torch.backends.cuda.matmul.allow_tf32
    assert (free_memory(torch.device("cuda")) or 0) <= torch.cuda.mem_get_info()[1]


@pytest.mark.gpu
def test_the_peak_of_the_gpus_memory() -> None:
    device = torch.device("cuda")
    reset_peak_memory(device)
    ballast = torch.zeros(2**26, dtype=torch.uint8, device=device)
    assert peak_memory(device) >= 2**26
    del ballast
    reset_peak_memory(device)
    assert peak_memory(device) < torch.cuda.memory_allocated() + 2**26
