"""Measure speed and memory, and write ``benchmarks/results/<device>.json`` and its tables in docs/performance.md.

python -m benchmarks [--rounds 3] [--only training,use] [--check] [--tiny] [--results folder]

What is compared runs in turn, for some rounds; medians and their ratios are kept. On a CPU each run has a process of
its own; on a GPU one process measures all batches. On a machine whose load changes, look at the ratios: with --check
they are compared with those of the result file, which stays as it is.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks import MODELS, PAGE, PROJECT, RESULTS, TEXTBOOK, device_name, file_name, find_device, python_environment
from benchmarks.pairs import make_pairs, part_of
from benchmarks.report import floor, write_report

SECTIONS = ("machine", "training", "use", "compile")
LEAST = 0.9  # of a committed ratio, with --check
Facts = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    steps: dict[int, int]  # how many are timed, by the batch size
    compiled: tuple[int, ...] = ()  # batch sizes to compile for
    modes: tuple[str, ...] = ("default",)
    size: int = 256
    files: int = 64  # to predict
    options: dict[str, Any] = field(default_factory=dict)  # of the models
    batches: dict[str, tuple[int, ...]] = field(default_factory=dict)  # of a model, if not all
    together: bool = True  # whether a process may measure several batches


PLANS = {
    "cpu": Plan(
        {1: 16, 4: 8, 8: 4, 32: 2},
        (8,),
        together=False,
        batches={"pix2pix": (1, 8, 32), "autoencoder": (1, 8, 32), "resunet": (1, 4)},
    ),
    "cuda": Plan({1: 60, 8: 30, 32: 12, 128: 4}, (1, 32), ("default", "max"), files=512),
    "tiny": Plan({1: 2, 2: 2}, size=64, files=4, options={"base_channels": 8}),
}


def python(*arguments: object) -> bool:
    """Run a module; whether it succeeded. If not, its last words are shown."""
    command = [sys.executable, "-m", *map(str, arguments)]
    result = subprocess.run(command, cwd=PROJECT, env=python_environment(), capture_output=True, text=True, check=False)
    if result.returncode:
        print(f"{' '.join(map(str, arguments))} failed:\n{result.stdout[-2000:]}{result.stderr[-2000:]}")
    return result.returncode == 0


def rate(ends: list[float], batch: int) -> float:
    """Images a second between the first step and the last."""
    return batch * (len(ends) - 1) / (ends[-1] - ends[0])


def middle(rounds: list[Facts]) -> Facts:
    """The median of each value."""
    return {name: statistics.median(facts[name] for facts in rounds) for name in rounds[0]}


def summary(rounds: dict[str, list[Facts]]) -> Facts:
    """The medians of what was measured, and of the ratios within each round."""

    def ratios(other: str) -> list[float]:
        pairs = zip(rounds.get("train", []), rounds.get(other, []), strict=False)
        return [train["rate"] / facts["rate"] for train, facts in pairs]

    found: Facts = {name: middle(values) for name, values in rounds.items()}
    if speed_ups := ratios("textbook"):
        found |= {"speed_up": statistics.median(speed_ups), "speed_ups": speed_ups}
    if overheads := [1 - ratio for ratio in ratios("bare")]:
        found |= {"overhead": statistics.median(overheads), "overheads": overheads}
    return found


class Bench:
    """Measures the sections, each a method of its name, and saves what it has after each measurement."""

    def __init__(self, folder: Path, results: Path, plan: Plan, rounds: int) -> None:
        self.folder, self.results, self.plan, self.rounds = folder, results, plan, rounds
        self.facts: Facts = json.loads(results.read_text()) if results.exists() else {"rounds": {}}
        self.failed = False
        largest = max((steps + 1) * batch for batch, steps in plan.steps.items())
        self.pairs = make_pairs(folder / "pairs" / "all", train=largest)
        for batch, steps in plan.steps.items():
            part_of(self.pairs, str(batch), (steps + 1) * batch)

    def save(self) -> None:
        self.results.parent.mkdir(parents=True, exist_ok=True)
        self.results.write_text(json.dumps(self.facts, indent=1) + "\n")

    def run(self, module: str, *arguments: object) -> Any:
        """What a module of ours writes to the file that is its first argument; nothing if it failed at once."""
        file = Path(tempfile.mkdtemp(dir=self.folder)) / "facts.json"
        self.failed |= not python(f"benchmarks.{module}", file, *arguments)
        return json.loads(file.read_text()) if file.exists() else {}

    def textbook(self, models: Sequence[str], batches: Sequence[int]) -> dict[str, Facts]:
        steps = [f"{batch}:{self.plan.steps[batch]}" for batch in batches]
        known = [model for model in models if model in TEXTBOOK]
        noted = {model: self.run("textbook", model, self.pairs.parent, *steps) for model in known}
        return {f"{model} {batch}": {"rate": rate(ends, int(batch))}
                for model in known for batch, ends in noted[model].items()}  # fmt: skip

    def bare(self, models: Sequence[str], batches: Sequence[int]) -> dict[str, Facts]:
        steps = [f"{batch}:{self.plan.steps[batch]}" for batch in batches]
        options = json.dumps(self.plan.options)
        noted = {model: self.run("ours", model, self.plan.size, options, *steps) for model in models}
        return {f"{model} {batch}": {"rate": rate(facts["ends"], int(batch)), "peak_mib": facts["peak_mib"]}
                for model in models for batch, facts in noted[model].items()}  # fmt: skip

    def train(self, models: Sequence[str], batches: Sequence[int], *options: str) -> dict[str, Facts]:
        """Real runs of two epochs; the second is timed, because in the first one the images are read."""
        sweep = Path(tempfile.mkdtemp(dir=self.folder))
        succeeded = python(
            "image_translation.train", "-m", "task=comic", f"model={','.join(models)}",
            *(f"model.{name}={value}" for name, value in self.plan.options.items()), *options,
            f"data.batch_size={','.join(map(str, batches))}", "data.eval_batch_size=4",
            f"data.root={self.pairs.parent}/${{data.batch_size}}", f"data.image_size={self.plan.size}",
            "trainer.max_epochs=2", "trainer.limit_val_batches=1",
            f"hydra.sweep.dir={sweep}", "hydra.sweep.subdir=${run.model}_${data.batch_size}",
            "+callbacks.steps._target_=benchmarks.steps.StepTimes", "+callbacks.steps.file=${run.dir}/times.json",
        )  # fmt: skip
        self.failed |= not succeeded
        found = {}
        for model, batch in ((model, batch) for model in models for batch in batches):
            folder = sweep / f"{model}_{batch}"
            if (folder / "times.json").exists():
                manifest = json.loads((folder / "run.json").read_text())
                found[f"{model} {batch}"] = run_facts(json.loads((folder / "times.json").read_text()), manifest, batch)
        return found

    def machine(self) -> None:
        found = self.run("machine", self.plan.size, json.dumps(self.plan.options))
        if found:
            self.facts["machine"] = found

    def training(self) -> None:
        groups: list[tuple[Sequence[str], Sequence[int]]] = [(MODELS, tuple(self.plan.steps))]
        if not self.plan.together:
            every = tuple(self.plan.steps)
            groups = [((model,), (batch,)) for model in MODELS for batch in self.plan.batches.get(model, every)]
        measures: dict[str, Callable[..., dict[str, Facts]]] = {
            "train": self.train, "bare": self.bare, "textbook": self.textbook,
        }  # fmt: skip
        found = self.facts["training"] = {}
        for models, batches in groups:
            rounds: dict[str, dict[str, list[Facts]]] = defaultdict(lambda: defaultdict(list))
            for _ in range(self.rounds):
                for kind, measure in measures.items():
                    for key, facts in measure(models, batches).items():
                        rounds[key][kind].append(facts)
                        found[key] = summary(rounds[key])
                        print(f"{kind}, {key}: {facts['rate']:.4g} images/s")
                    self.save()

    def use(self) -> None:
        """Images a second: by the networks alone, and from files to files."""
        found = self.facts["use"] = {}
        options, files = json.dumps(self.plan.options), self.pairs / "train" / "face"
        for model in MODELS:
            turns = [
                self.run("use", model, self.plan.size, options, files, self.plan.files) for _ in range(self.rounds)
            ]
            found[model] = middle(turns) | {"share": statistics.median(t["predict"] / t["network"] for t in turns)}
            print(f"use, {model}: {found[model]}")
            self.save()

    def compile(self) -> None:
        found: dict[str, Facts] = defaultdict(dict)
        self.facts["compile"] = found
        for batch, mode, model in product(self.plan.compiled, self.plan.modes, MODELS):
            turns = [self.train((model,), (batch,), f"model.compile={mode}") for _ in range(self.rounds)]
            for key in turns[0]:
                found[key][mode] = middle(
                    [{k: turn[key][k] for k in ("rate", "start_up_s")} for turn in turns if key in turn]
                )
                print(f"compile={mode}, {key}: {found[key][mode]}")
            self.save()


def run_facts(times: Facts, manifest: Facts, batch: int) -> Facts:
    """What is kept of a real run, from what ``StepTimes`` noted and the run's manifest."""
    first, second = times["epochs"]
    facts = {
        "rate": rate(second, batch),
        "start_up_s": first[0] - times["made"],
        "epoch_end_s": second[0] - first[-1] - (second[-1] - second[0]) / (len(second) - 1),
        "peak_mib": manifest["cost"]["peak_memory_mib"],
        "test_rate": rate(times["test"], 4),
    }
    if manifest["device"]["type"] == "cpu":  # a GPU is not done when the host is
        facts["around"] = 1 - sum(times["inside"][1][1:]) / (second[-1] - second[0])
    return facts


def all_ratios(facts: Facts) -> dict[str, float]:
    """What must not fall, by its name."""
    found = {}
    for key, values in facts.get("training", {}).items():
        model, batch = key.split()
        if "speed_up" in values:
            found[f"{model}, batch {batch}: train / textbook"] = values["speed_up"]
        if "overhead" in values:
            found[f"{model}, batch {batch}: train / bare loop"] = 1 - values["overhead"]
        if "bare" in values and model in facts.get("machine", {}).get("costs", {}):
            limit = floor(facts["machine"], model, int(batch))
            found[f"{model}, batch {batch}: bare loop / floor"] = values["bare"]["rate"] / limit
    return found | {f"{model}: predict / network": use["share"] for model, use in facts.get("use", {}).items()}


def fallen(before: Facts, now: Facts) -> list[str]:
    """The ratios that are lower now than a tenth below what they were, in words; all are printed."""
    old, new = all_ratios(before), all_ratios(now)
    lines = {name: f"{name}: {old[name]:.2f} → {new[name]:.2f}" for name in old if name in new}
    print(*lines.values(), sep="\n")
    return [line for name, line in lines.items() if new[name] < LEAST * old[name]]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="how often each thing is measured (3)")
    parser.add_argument("--only", default=",".join(SECTIONS), help="some of: " + ",".join(SECTIONS))
    parser.add_argument(
        "--check", action="store_true", help="compare ratios with the result file: status 1 if one fell"
    )
    parser.add_argument("--tiny", action="store_true", help="only try it: small models and images")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder of the result file")
    arguments = parser.parse_args()
    wanted = arguments.only.split(",")
    if unknown := set(wanted) - set(SECTIONS):
        parser.error(f"--only: {', '.join(sorted(unknown))} is none of {', '.join(SECTIONS)}")
    if arguments.rounds < 1:
        parser.error("--rounds must be at least 1")
    device = find_device()
    file = committed = arguments.results / file_name(device_name(device))
    if arguments.check and not committed.exists():
        parser.error(f"--check: {committed} does not exist; run without it first.")
    with tempfile.TemporaryDirectory() as folder:
        if arguments.check:
            file = Path(folder) / "now.json"
        bench = Bench(Path(folder), file, PLANS["tiny" if arguments.tiny else device.type], arguments.rounds)
        for name in SECTIONS:
            if name in wanted or (name == "machine" and name not in bench.facts):
                print(f"Measuring {name} …")
                getattr(bench, name)()
                bench.facts["rounds"][name] = arguments.rounds
                bench.save()
        if arguments.check:
            lost = fallen(json.loads(committed.read_text()), bench.facts)
            sys.exit("\n".join(["", "More than a tenth lower:", *lost]) if lost else bench.failed)
    if arguments.results == RESULTS:
        write_report(PAGE, file)
        print(f"Wrote {file} and its tables in {PAGE}")
    sys.exit(bench.failed)


if __name__ == "__main__":
    main()
