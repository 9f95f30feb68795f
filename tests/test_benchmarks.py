"""What `make bench` writes, and that its parts run."""

import itertools
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from conftest import PROJECT, read_json
from helpers.training import multiply_adds

from benchmarks import MODELS, gpu
from benchmarks.__main__ import fallen, middle, rate, summary
from benchmarks.machine import BytesCounter, step_costs
from benchmarks.parts import read_table, same
from benchmarks.preemption import wasted_share
from benchmarks.report import floor, write_report
from benchmarks.steps import Syncs
from image_translation.models import UNetAutoencoder

MACHINE: dict[str, Any] = {
    "device": "Chip, 2 cores", "torch": "2.11", "precision": "bf16-mixed", "kind": "cpu",
    "rates": {"matmul_fast": 1e12, "conv_fast": 2e12, "matmul_fp32": 1e11, "conv_fp32": 1e11, "bandwidth": 1e10},
    "costs": {"pix2pix": {"1": {"flops": 1e11, "bytes": 3e9}, "8": {"flops": 8e11, "bytes": 10e9}}},
}  # fmt: skip


def test_rates_and_the_ratios_within_a_round() -> None:
    assert rate([10.0, 11.0, 14.0], batch=8) == 2 * 8 / 4
    assert middle([{"a": 1, "b": 9}, {"a": 5, "b": 7}, {"a": 2, "b": 8}]) == {"a": 2, "b": 8}
    rates = {"train": (6.0, 8.0), "textbook": (3.0, 2.0), "bare": (8.0, 16.0)}
    found = summary({name: [{"rate": value} for value in values] for name, values in rates.items()})
    assert [found[name]["rate"] for name in rates] == [7, 2.5, 12]
    assert (found["speed_up"], found["speed_ups"], found["overheads"]) == (3, [2, 4], [0.25, 0.5])
    assert summary({"textbook": [{"rate": 3.0}]}) == {"textbook": {"rate": 3}}


def test_floor_by_hand() -> None:
    # At batch 1: 1e11 FLOP at 2e12/s are 0.05 s; 3e9 bytes at 1e10/s are 0.3 s, which is more.
    assert floor(MACHINE, "pix2pix", 1) == pytest.approx(1 / 0.3)
    # At batch 15: 15e11 FLOP, 0.75 s; 3e9 + 14 · 1e9 bytes, 1.7 s. With faster memory the FLOP count.
    assert floor(MACHINE, "pix2pix", 15) == pytest.approx(15 / 1.7)
    fast = MACHINE | {"rates": MACHINE["rates"] | {"bandwidth": 1e11}}
    assert floor(fast, "pix2pix", 15) == pytest.approx(15 / 0.75)


def test_ratios_that_fell_by_more_than_a_tenth_are_named() -> None:
    def facts(speed_up: float, rate: float, share: float) -> dict[str, Any]:
        training = {"pix2pix 1": {"speed_up": speed_up, "overhead": 0.1, "bare": {"rate": rate}}}
        return {"machine": MACHINE, "training": training, "use": {"pix2pix": {"share": share}}}

    before = facts(2.0, 3.0, 0.9)
    assert fallen(before, facts(1.81, 2.71, 0.82)) == fallen(before, {}) == []
    # The floor is 1 / 0.3 images a second.
    assert fallen(before, facts(1.79, 2.69, 0.82)) == [
        "pix2pix, batch 1: train / textbook: 2.00 → 1.79",
        "pix2pix, batch 1: bare loop / floor: 0.90 → 0.81",
    ]


def test_each_device_has_one_place_on_the_page(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text("# Before\n\n<!-- further devices -->\n\nafter\n")
    train = {"rate": 3.0, "around": 0.02, "peak_mib": 2000.0, "start_up_s": 9.0, "epoch_end_s": 1.0}
    training = {"pix2pix 1": {"textbook": {"rate": 1.5}, "train": train, "bare": {"rate": 3.2}, "speed_up": 2.0,
                              "speed_ups": [1.9, 2.0, 2.2], "overhead": 0.0625}}  # fmt: skip
    facts: dict[str, Any] = {"machine": MACHINE, "rounds": {"training": 3}, "training": training}
    for name in ("one.json", "two.json"):
        (tmp_path / name).write_text(json.dumps(facts))
        write_report(page, tmp_path / name)
    text = page.read_text()
    assert text.startswith("# Before\n")
    assert text.endswith("after\n")
    row = "| pix2pix, batch 1 | 1.5 | 3 | **2.00×** (1.90–2.20) | 3.2 | 0.94× | 2.0% | 3.33 (96%) | 2,000 | 9 | 1 | – |"
    assert text.count(row) == 2
    facts["training"]["pix2pix 1"]["speed_up"] = 7.0
    (tmp_path / "one.json").write_text(json.dumps(facts))
    write_report(page, tmp_path / "one.json")
    again = page.read_text()
    assert again.count("**7.00×**") == again.count("**2.00×**") == 1
    assert again.index("**7.00×**") < again.index("**2.00×**")
    # What was not measured is left out.
    check = {"problem": "stopped after 9 s", "seconds": 9.0, "facts": {"pix2pix": 3, "table": "| a |"}}
    facts = {"rounds": {}, "training": {"pix2pix 1": {"textbook": {"rate": 1.6}}}, "checks": {"training": check}}
    (tmp_path / "two.json").write_text(json.dumps(facts))
    write_report(page, tmp_path / "two.json")
    for part in ("| pix2pix, batch 1 | 1.6 | – |", "| training | stopped after 9 s | 9 | pix2pix: 3 |", "\n| a |"):
        assert part in page.read_text()


def test_a_steps_costs_are_those_of_its_layers() -> None:
    a, b = torch.ones(1000), torch.ones(1000)
    with BytesCounter() as moved:
        (a + b).view(10, 100)  # a view moves nothing
    assert moved.bytes == 3 * 4000
    found = step_costs("autoencoder", 2, 64, {"base_channels": 4}, torch.device("cpu"), "32-true")
    network = UNetAutoencoder(64, base_channels=4).generator
    forward = multiply_adds(network, torch.zeros(2, 3, 64, 64))
    # The gradients of weights and input take as much again each; the first layer's input needs none.
    assert found["flops"] == 2 * (3 * sum(forward) - forward[0])
    assert found["bytes"] > sum(p.numel() * 4 for p in network.parameters())


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_waits_for_the_gpu_are_counted_by_step_and_line(device: str, tmp_path: Path) -> None:
    """Two epochs of three steps, which wait 0, 1 and 2 times; of the second epoch all but the last step count."""
    syncs, module, value = Syncs(str(tmp_path / "syncs.json")), Mock(device=torch.device(device)), torch.ones(1)
    for epoch, index in itertools.product(range(2), range(3)):
        trainer = Mock(current_epoch=epoch, is_last_batch=index == 2)
        syncs.on_train_batch_start(trainer, module, None, index)
        for _ in range(index):
            value.to(device).item()
            warnings.warn(f"called a synchronizing {'CUDA' if device == 'cpu' else 'other'} operation", stacklevel=1)
            warnings.warn("something else", stacklevel=1)
        syncs.on_train_batch_end(trainer, module)
    syncs.on_train_end(trainer, module)
    found = read_json(tmp_path / "syncs.json")
    first, second = found["steps"]
    assert first == 0 < second
    assert any("test_benchmarks.py:" in place for place in found["places"])
    assert device == "cuda" or (second, sum(found["places"].values())) == (1, 1)


@pytest.mark.slow
def test_values_are_compared_bit_for_bit(tmp_path: Path) -> None:
    zeros = torch.zeros(2)
    for other, equal in (([zeros, 1.0], True), ([torch.tensor([0.0, 1e-45]), 1.0], False), ([zeros], False)):
        assert same({"a": [torch.zeros(2), 1.0]}, {"a": other}) == equal
    (tmp_path / "t.csv").write_text("name,mse,psnr\na,1.5,nan\nb,2,\n")
    assert str(read_table(tmp_path / "t.csv")) == "[[1.5, nan], [2.0]]"


@pytest.mark.slow
def test_parts_that_fail_or_take_too_long_are_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that passes is among them."""
    file, arguments, end = tmp_path / "device.json", Mock(out=tmp_path, pairs=None, tiny=True), float("inf")
    monkeypatch.setitem(gpu.LIMITS, "unknown", 200)
    monkeypatch.setitem(gpu.LIMITS, "resume", 0.4)
    assert [gpu.run(name, arguments, end, file) for name in ("tests", "unknown", "resume")] == [True, False, False]
    checks = read_json(file)["checks"]
    assert [checks[name]["problem"] for name in checks] == [None, "KeyError: 'unknown'", "stopped after 2 s"]
    assert checks["tests"]["facts"] == ({"passed": 1} if torch.cuda.is_available() else {"skipped": 1})
    log = (tmp_path / "gpu.log").read_text()
    assert all(f"===== {name}\n" in log for name in checks)


def test_make_gpu_takes_an_interpreter_that_has_everything(tmp_path: Path) -> None:
    make = ["make", "-C", str(PROJECT), "gpu", f"PYTHON={sys.executable}", "VENV=/dev/null/none", "ARGS=--parts none"]
    result = subprocess.run(make, capture_output=True, text=True, check=False, env=os.environ | {"HOME": str(tmp_path)})
    assert "--parts: none is none of tests" in result.stderr


@pytest.mark.slow
def test_the_rehearsal(tmp_path: Path) -> None:
    """All parts of ``make gpu`` and of ``make bench``, in tiny; the project's own figures are not touched."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--tiny", "--out", str(tmp_path), "--seconds", "1500"]
    result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    (file,) = tmp_path.glob("*.json")
    facts = read_json(file)
    assert {name: check["problem"] for name, check in facts["checks"].items()} == dict.fromkeys(gpu.PARTS)
    assert {key: set(found) for key, found in facts["training"].items()} == {
        f"{model} {batch}": {"bare", "train", "overhead", "overheads"} | beside
        for model, beside in zip(MODELS, [{"textbook", "speed_up", "speed_ups"}] * 2 + [set[str]()], strict=True)
        for batch in (1, 2)
    }  # fmt: skip
    assert set(facts["use"]) == set(MODELS)
    assert facts["checks"]["training"]["facts"]["runs"] == 9
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {file.name, "gpu.log", "table.md", "report.html", "panels.png"}


@pytest.mark.parametrize("minutes", [30, 480])
def test_of_many_intervals_the_root_of_young_wastes_least(minutes: int) -> None:
    """Young 1974."""
    best = (2 * 0.5 * minutes * 60) ** 0.5
    shares = {factor: wasted_share(factor * best, 0.5, 15, minutes * 60) for factor in (0.25, 0.5, 1, 2, 4)}
    assert min(shares, key=lambda factor: shares[factor]) == 1
    # To first order: a checkpoint in each interval, half an interval and a start lost with each failure.
    assert shares[1] == pytest.approx(0.5 / best + (best / 2 + 15) / (minutes * 60), rel=0.1)
