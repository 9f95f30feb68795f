"""Measure, and write ``benchmarks/results/<device>.json`` and its table in docs/performance.md.

python -m benchmarks [--rounds 3] [--only training,scaling]

Things that are compared run in turn, each in a process of its own, for some rounds; medians and their ratios are kept.
On a machine whose load changes, look at the ratios.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks.machine import device_name
from benchmarks.pairs import make_pairs, part_of
from benchmarks.report import write_report

PROJECT = Path(__file__).parents[1]
RESULTS, PAGE = PROJECT / "benchmarks" / "results", PROJECT / "docs" / "performance.md"
SECTIONS = ("machine", "training", "pipeline", "inference", "scaling", "compile")
MODELS = ("pix2pix", "autoencoder")
BATCHES = {"cpu": (1, 8, 32), "cuda": (1, 8, 32, 64, 128)}
# Steps that are timed, after a first one that isn't.
STEPS = {"cpu": {1: 16, 8: 4, 32: 2}, "cuda": {1: 200, 8: 100, 32: 50, 64: 30, 128: 20}}
console = Console()
Facts = dict[str, Any]


def python(*arguments: object) -> float:
    """Run a module; the time at which it started."""
    start = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "WANDB_MODE": "offline"}
    command = [sys.executable, "-m", *map(str, arguments)]
    result = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(f"{' '.join(map(str, arguments))} failed:\n{result.stdout}{result.stderr}")
    return start


def rate(ends: list[float], batch: int) -> float:
    """Images a second between the first step and the last."""
    return batch * (len(ends) - 1) / (ends[-1] - ends[0])


def run_train(folder: Path, pairs: Path, model: str, batch: int, steps: int, *options: str) -> Facts:
    """A real run of two epochs; the second is timed, because in the first one the images are read."""
    pairs = part_of(pairs, (steps + 1) * batch)
    run, times = Path(tempfile.mkdtemp(dir=folder)) / "run", folder / "times.json"
    start = python(
        "image_translation.train", "task=comic", f"model={model}", f"data.root={pairs}", f"data.batch_size={batch}",
        "trainer.max_epochs=2", "trainer.limit_val_batches=1", "trainer.limit_test_batches=1", f"hydra.run.dir={run}",
        "+callbacks.steps._target_=benchmarks.steps.StepTimes", f"+callbacks.steps.file={times}", *options,
    )  # fmt: skip
    noted = json.loads(times.read_text())
    epochs, own = noted["epochs"], noted["own"][1]
    manifest = json.loads((run / "run.json").read_text())
    shutil.rmtree(run.parent)
    # The share of what is not the model's own step. A GPU is not done when the host is.
    around = (
        {"around": 1 - sum(own[1:]) / (epochs[1][-1] - epochs[1][0])} if manifest["device"]["type"] == "cpu" else {}
    )
    return around | {
        "rate": rate(epochs[1], batch),
        "start_up_s": epochs[0][0] - start,
        "epoch_end_s": epochs[1][0] - epochs[0][-1] - (epochs[1][-1] - epochs[1][0]) / (len(epochs[1]) - 1),
        "peak_mib": manifest["cost"]["peak_memory_mib"],
    }


def bare(folder: Path, model: str, batch: int, steps: int, *options: str, size: int = 256) -> Facts:
    file = folder / "ours.json"
    python("benchmarks.ours", model, size, batch, steps + 1, file, *options)
    facts = json.loads(file.read_text())
    return {"rate": rate(facts["ends"], batch), "peak_mib": facts["peak"] / 2**20}


def textbook(folder: Path, pairs: Path, model: str, batch: int, steps: int) -> Facts:
    file = folder / "textbook.json"
    python("benchmarks.textbook", model, part_of(pairs, (steps + 1) * batch) / "train", batch, steps + 1, file)
    return {"rate": rate(json.loads(file.read_text()), batch)}


def middle(rounds: list[Facts]) -> Facts:
    """The median of each value."""
    return {name: statistics.median(facts[name] for facts in rounds) for name in rounds[0]}


def training(folder: Path, pairs: Path, kind: str, rounds: int) -> Facts:
    found: Facts = {}
    for model in MODELS:
        for batch in BATCHES[kind]:
            steps = STEPS[kind][batch]
            results: dict[str, list[Facts]] = {"textbook": [], "train": [], "bare": []}
            try:
                for turn in range(rounds):
                    results["textbook"].append(textbook(folder, pairs, model, batch, steps))
                    results["train"].append(run_train(folder, pairs, model, batch, steps))
                    results["bare"].append(bare(folder, model, batch, steps))
                    rates = {name: round(values[-1]["rate"], 2) for name, values in results.items()}
                    console.print(f"{model}, batch {batch}, round {turn + 1}: {rates} images/s")
            except SystemExit as error:  # float32 may not fit where ours does
                console.print(f"{model}, batch {batch} is left out: {str(error).strip().splitlines()[-1]}")
                continue
            ratios = [t["rate"] / b["rate"] for t, b in zip(results["train"], results["textbook"], strict=True)]
            shares = [1 - t["rate"] / b["rate"] for t, b in zip(results["train"], results["bare"], strict=True)]
            found[f"{model} {batch}"] = {name: middle(values) for name, values in results.items()} | {
                "speed_up": statistics.median(ratios), "speed_ups": ratios,
                "overhead": statistics.median(shares), "overheads": shares,
            }  # fmt: skip
    return found


def pipeline(folder: Path, pairs: Path, _: str, rounds: int) -> Facts:
    results = []
    for _turn in range(rounds):
        python("benchmarks.pipeline", pairs, folder / "pipeline.json")
        results.append(json.loads((folder / "pipeline.json").read_text()))
    return middle(results)


def inference(folder: Path, pairs: Path, _: str, rounds: int) -> Facts:
    results = []
    for _turn in range(rounds):
        python("benchmarks.inference", pairs, folder / "inference.json")
        results.append(json.loads((folder / "inference.json").read_text()))
    return {model: middle([result[model] for result in results]) for model in MODELS}


def scaling(folder: Path, pairs: Path, kind: str, rounds: int) -> Facts:
    found: Facts = {"size": {}, "gradient_checkpointing": {}, "images": {}}
    for model in MODELS:
        for size in (64, 128, 256, 512):
            batch = 4 if size == 512 else 8
            steps = (30 if kind == "cuda" else 4) * 128 // max(size, 128)
            for key, options in {"size": (), "gradient_checkpointing": ("gradient_checkpointing",)}.items():
                turns = [bare(folder, model, batch, steps, *options, size=size) for _ in range(rounds)]
                found[key][f"{model} {size}"] = middle(turns)
                console.print(f"{key} {model} {size}: {found[key][f'{model} {size}']}")
    for count in (32, 64, 96):
        options = ("data.image_size=64", "callbacks.panels.panel_every=9")
        turns = [run_train(folder, pairs, "autoencoder", 8, count // 8 - 1, *options) for _ in range(rounds)]
        found["images"][str(count)] = {"epoch_s": statistics.median(count / turn["rate"] for turn in turns)}
    return found


def compiling(folder: Path, pairs: Path, kind: str, rounds: int) -> Facts:
    found: Facts = {}
    for model in MODELS:
        for batch in BATCHES[kind][:2]:
            steps = STEPS[kind][batch]
            modes: dict[str, list[Facts]] = {"off": [], "default": [], **({"max": []} if kind == "cuda" else {})}
            for _ in range(rounds):
                for mode, values in modes.items():
                    run = run_train(folder, pairs, model, batch, steps, f"model.compile={mode}")
                    values.append({"rate": run["rate"], "start_up_s": run["start_up_s"]})
            found[f"{model} {batch}"] = {mode: middle(values) for mode, values in modes.items()}
            console.print(f"compile {model} {batch}: {found[f'{model} {batch}']}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="how often each thing is measured (3)")
    parser.add_argument("--only", default=",".join(SECTIONS), help="some of: " + ",".join(SECTIONS))
    arguments = parser.parse_args()
    wanted = arguments.only.split(",")
    if unknown := set(wanted) - set(SECTIONS):
        parser.error(f"--only: {', '.join(sorted(unknown))} is none of {', '.join(SECTIONS)}")
    if arguments.rounds < 1:
        parser.error("--rounds must be at least 1")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        kind = device.type
        file = RESULTS / f"{re.sub('[^A-Za-z0-9]+', '-', device_name(device)).strip('-')}.json"
        facts: Facts = json.loads(file.read_text()) if file.exists() else {"rounds": {}}
        if "machine" in wanted or "machine" not in facts:
            console.print("The machine itself …")
            python("benchmarks.machine", folder / "machine.json")
            facts["machine"] = json.loads((folder / "machine.json").read_text())
        pairs = make_pairs(folder / "pairs", train=max((steps + 1) * batch for batch, steps in STEPS[kind].items()))
        work = {
            "training": training,
            "pipeline": pipeline,
            "inference": inference,
            "scaling": scaling,
            "compile": compiling,
        }
        for name, measure in work.items():
            if name in wanted:
                console.print(f"Measuring {name} …")
                facts[name] = measure(folder, pairs, kind, arguments.rounds)
                facts["rounds"][name] = arguments.rounds
                file.parent.mkdir(exist_ok=True)
                file.write_text(json.dumps(facts, indent=1) + "\n")  # after each, so that nothing measured is lost
        write_report(PAGE, file, facts)
        console.print(f"Wrote {file} and its tables in {PAGE}")


if __name__ == "__main__":
    main()
