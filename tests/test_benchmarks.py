"""What `make bench` writes, and that its parts run."""

import json
import subprocess
import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import PROJECT, TINY_AUTOENCODER, Command, succeeded
from torch import nn

from benchmarks import machine
from benchmarks.__main__ import middle, rate
from benchmarks.machine import BytesCounter, step_costs
from benchmarks.pairs import make_pairs, part_of
from benchmarks.report import described, floor, number, write_report
from image_translation.models import UNetAutoencoder

MACHINE: dict[str, Any] = {
    "device": "Chip, 2 cores", "torch": "2.11", "precision": "bf16-mixed", "kind": "cpu",
    "rates": {"matmul_fast": 1e12, "conv_fast": 2e12, "matmul_fp32": 1e11, "conv_fp32": 1e11, "bandwidth": 1e10},
    "costs": {"pix2pix": {"1": {"flops": 1e11, "bytes": 3e9}, "8": {"flops": 8e11, "bytes": 10e9}}},
}  # fmt: skip


def test_rate_and_middle() -> None:
    assert rate([10.0, 11.0, 14.0], batch=8) == 2 * 8 / 4
    assert middle([{"a": 1, "b": 9}, {"a": 5, "b": 7}, {"a": 2, "b": 8}]) == {"a": 2, "b": 8}


def test_floor_by_hand() -> None:
    # At batch 1: 1e11 FLOP at 2e12/s are 0.05 s; 3e9 bytes at 1e10/s are 0.3 s, which is more.
    assert floor(MACHINE, "pix2pix", 1) == pytest.approx(1 / 0.3)
    # At batch 15: 15e11 FLOP, 0.75 s; 3e9 + 14 · 1e9 bytes, 1.7 s. With faster memory the FLOP count.
    assert floor(MACHINE, "pix2pix", 15) == pytest.approx(15 / 1.7)
    fast = MACHINE | {"rates": MACHINE["rates"] | {"bandwidth": 1e11}}
    assert floor(fast, "pix2pix", 15) == pytest.approx(15 / 0.75)


def test_numbers_and_rounds_for_people() -> None:
    assert [number(value) for value in (1234.5, 99.94, 0.123456)] == ["1,234", "99.9", "0.123"]
    assert described({"training": 3, "scaling": 3}) == "3 rounds"
    assert described({"training": 3, "scaling": 1}) == "3 rounds (scaling: 1)"


def test_each_device_has_one_place_on_the_page(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text("# Before\n\n<!-- further devices -->\n\nafter\n")
    train = {"rate": 3.0, "around": 0.02, "peak_mib": 2000.0, "start_up_s": 9.0, "epoch_end_s": 1.0}
    training = {"pix2pix 1": {"textbook": {"rate": 1.5}, "train": train, "bare": {"rate": 3.2}, "speed_up": 2.0,
                              "speed_ups": [1.9, 2.0, 2.2], "overhead": 0.0625}}  # fmt: skip
    facts: dict[str, Any] = {"machine": MACHINE, "rounds": {"training": 3}, "training": training}
    for name in ("one.json", "two.json"):
        write_report(page, Path(name), facts)
    text = page.read_text()
    assert text.startswith("# Before\n")
    assert text.endswith("after\n")
    row = "| pix2pix, batch 1 | 1.5 | 3 | **2.00×** (1.90–2.20) | 3.2 | 0.94× | 2.0% | 3.33 (96%) | 2,000 | 9 | 1 |"
    assert text.count(row) == 2
    facts["training"]["pix2pix 1"]["speed_up"] = 7.0
    write_report(page, Path("one.json"), facts)
    again = page.read_text()
    assert again.count("**7.00×**") == again.count("**2.00×**") == 1
    assert again.index("**7.00×**") < again.index("**2.00×**")


def test_a_part_of_the_pairs(tmp_path: Path) -> None:
    pairs = make_pairs(tmp_path / "pairs", train=5, rest=2)
    part = part_of(pairs, 3)
    assert part_of(pairs, 3) == part != part_of(pairs, 5)
    assert sorted(file.name for file in (part / "train" / "face").iterdir()) == ["0000.jpg", "0001.jpg", "0002.jpg"]
    for folder in ("train/comics", "val/face", "test/comics"):
        files = sorted((part / folder).iterdir())
        assert [file.read_bytes() for file in files] == [(pairs / folder / file.name).read_bytes() for file in files]
        assert len(files) == (3 if folder.startswith("train") else 2)


def test_bytes_are_those_that_are_read_and_written() -> None:
    a, b = torch.ones(1000), torch.ones(1000)
    with BytesCounter() as moved:
        (a + b).view(10, 100)
    assert moved.bytes == 3 * 4000


def test_a_steps_operations_are_those_of_its_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(machine.MODELS, "small", partial(UNetAutoencoder, base_channels=4))
    monkeypatch.setattr(machine, "SIZE", 64)
    found = step_costs("small", 2, torch.device("cpu"), "32-true")
    total = 0

    def count(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        positions = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output  # where the kernel is laid
        forward = 2 * positions.shape[0] * positions.shape[2] * positions.shape[3] * layer.weight.numel()  # type: ignore[operator,union-attr]
        # The gradients of weights and input take as much again each; the first layer's input needs none.
        total += forward * (2 if layer is first else 3)

    network = UNetAutoencoder(64, base_channels=4).generator
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    first = layers[0]
    for layer in layers:
        layer.register_forward_hook(count)
    network(torch.zeros(2, 3, 64, 64))
    assert found["flops"] == total
    assert found["bytes"] > sum(p.numel() * 4 for p in network.parameters())


def test_steps_of_a_real_run_are_noted(comic_root: Path, command: Command, tmp_path: Path) -> None:
    options = ["+callbacks.steps._target_=benchmarks.steps.StepTimes", f"+callbacks.steps.file={tmp_path / 't.json'}"]
    succeeded(
        command("train", *TINY_AUTOENCODER, f"data.root={comic_root}", f"hydra.run.dir={tmp_path / 'r'}", *options)
    )
    noted = json.loads((tmp_path / "t.json").read_text())
    (ends,), (own,) = noted["epochs"], noted["own"]
    assert len(ends) == len(own) == 3
    assert ends == sorted(ends)
    assert sum(own[1:]) < ends[-1] - ends[0]


@pytest.mark.parametrize("module", ["ours", "textbook"])
def test_loops_write_when_each_step_ended(module: str, tmp_path: Path) -> None:
    pairs = make_pairs(tmp_path / "pairs", train=2, rest=1)
    file = tmp_path / "times.json"
    arguments = ["autoencoder", 64 if module == "ours" else pairs / "train", 1, 3, file]
    import_module(f"benchmarks.{module}").main(*map(str, arguments))
    found = json.loads(file.read_text())
    ends = found["ends"] if module == "ours" else found
    assert len(ends) == 3
    assert ends == sorted(ends)


@pytest.mark.slow
def test_the_command(tmp_path: Path) -> None:
    """Its two shortest parts, without touching the project's own figures."""
    code = f"""if True:
        import sys
        from pathlib import Path
        import benchmarks.__main__ as bench
        bench.RESULTS, bench.PAGE = Path({str(tmp_path)!r}) / "results", Path({str(tmp_path)!r}) / "page.md"
        bench.PAGE.write_text("<!-- further devices -->")
        sys.argv[1:] = ["--rounds", "1", "--only", "pipeline,inference"]
        bench.main()
    """
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=True)
    (file,) = (tmp_path / "results").iterdir()
    facts = json.loads(file.read_text())
    assert set(facts["pipeline"]) == {"textbook", "none", "disk", "device"}
    assert all(value > 0 for rates in facts["inference"].values() for value in rates.values())
    assert "evaluate" in (tmp_path / "page.md").read_text()


@pytest.mark.parametrize(("arguments", "message"), [
    (["--only", "trainning"], "--only: trainning is none of machine, training"), (["--rounds", "0"], "at least 1"),
])  # fmt: skip
def test_a_mistyped_part_is_named(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["python -m benchmarks", *arguments])
    with pytest.raises(SystemExit, match="2"):
        import_module("benchmarks.__main__").main()
    assert message in capsys.readouterr().err
