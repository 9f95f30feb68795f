"""The parts of ``make gpu``: each checks one thing through the commands that a user types, and notes what it found.

python -m benchmarks.parts <part> <folder> <results> <seconds> <pairs or ''> <tiny or ''>
"""

import csv
import json
import math
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from benchmarks import MODELS, PROJECT, python_environment

TASKS = ("comic", "monet", "coloring")


@dataclass
class Part:
    """Where a part works, and with what."""

    folder: Path  # for runs, and for what is to be kept
    results: Path  # the folder of the result file
    seconds: float  # the time there is
    pairs: Path | None  # a folder with pairs for each task; None for the built-in sample
    tiny: bool  # only try it: small models and images

    def note(self, **facts: Any) -> None:
        file = self.folder / "facts.json"
        file.write_text(json.dumps((json.loads(file.read_text()) if file.exists() else {}) | facts))

    def start(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        print("$", module, *arguments, flush=True)
        return subprocess.Popen([sys.executable, "-m", module, *arguments], cwd=PROJECT, env=python_environment())

    def command(self, module: str, *arguments: str) -> None:
        """Run a module, and end this part if it fails."""
        if code := self.start(module, *arguments).wait():
            raise SystemExit(f"{module} ended with status {code}.")

    def options(self, size: int = 256, task: str = "comic") -> list[str]:
        root = [f"data.root={self.pairs}/{task}"] if self.pairs else []
        small = ["data.image_size=64", "model.base_channels=8"]
        return [*root, *(small if self.tiny else [f"data.image_size={size}"])]


def gpu_tests(part: Part) -> None:
    """The tests marked ``gpu``."""
    files = [str(f) for f in sorted((PROJECT / "tests").rglob("test_*.py")) if "mark.gpu" in f.read_text()]
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-v", "--tb=short", "-p", "no:cacheprovider",
               "--continue-on-collection-errors"]  # fmt: skip
    command += ["tests/test_benchmarks.py"] if part.tiny else files
    process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    last = ""
    for line in process.stdout or []:
        print(line, end="", flush=True)
        last = line
    part.note(**{word: int(count) for count, word in re.findall(r"(\d+) (passed|failed|skipped|error)", last)})
    if process.wait():
        raise SystemExit(last.strip("= \n"))


def metrics(part: Part) -> None:
    """Scores of the same images, computed on the GPU and on the CPU."""
    scores = []
    for device in ("cpu", "auto"):
        run = part.folder / device
        data = [option for option in part.options() if option.startswith("data.")]
        part.command("image_translation.train", "model=identity", *data, "protocol=report", "logger=none",
                     f"trainer.accelerator={device}", f"hydra.run.dir={run}")  # fmt: skip
        scores.append([value for row in read_table(run / "test" / "per_image.csv") for value in row])
    difference = max(abs(a - b) / max(1.0, abs(a)) for a, b in zip(*scores, strict=True))
    part.note(scores=len(scores[0]), largest_difference=difference)
    if not difference <= 1e-4:
        raise SystemExit(f"Scores differ by {difference}, relative to the larger of 1 and the score.")


def read_table(file: Path, without: str = "name") -> list[list[float]]:
    """The numbers of a CSV file's rows, but for columns whose name has ``without`` in it."""
    with file.open() as lines:
        rows = list(csv.DictReader(lines))
    return [[float(value) for name, value in row.items() if value and without not in name] for row in rows]


def resume(part: Part) -> None:
    """With ``trainer.deterministic=true`` a run that is stopped and resumed ends with the bytes of one that is not."""
    for model in MODELS[:1] if part.tiny else MODELS:
        whole, stopped = part.folder / model / "whole", part.folder / model / "stopped"
        options = [*part.options(128), f"model={model}", "data.batch_size=2", "trainer.max_epochs=5", "logger=none",
                   "trainer.deterministic=true", "checkpoint.every_n_epochs=5"]  # fmt: skip
        part.command("image_translation.train", *options, f"hydra.run.dir={whole}")
        process = part.start("image_translation.train", *options, f"hydra.run.dir={stopped}")
        while process.poll() is None and not (stopped / "metrics.csv").exists():
            time.sleep(0.01)
        time.sleep(0.2)  # into the second epoch
        process.terminate()
        if (code := process.wait()) != 128 + signal.SIGTERM:
            raise SystemExit(f"{model}: stopped during training, and ended with status {code}.")
        step = load(stopped)["global_step"]
        part.command("image_translation.train", f"resume={stopped}")
        different = [name for name in ("metrics.csv", "test/per_image.csv")
                     if (whole / name).read_bytes() != (stopped / name).read_bytes()]  # fmt: skip
        one, other = load(whole), load(stopped)
        different += [key for key in ("state_dict", "optimizer_states") if not same(one[key], other[key])]
        part.note(**{model: f"stopped at step {step} of {one['global_step']}"})
        if different:
            raise SystemExit(f"{model}: stopped at step {step} and resumed, {' and '.join(different)} differ.")


def load(run: Path) -> dict[str, Any]:
    return torch.load(run / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=True)  # type: ignore[no-any-return]


def same(one: Any, other: Any) -> bool:
    """Whether nested values are equal bit for bit."""
    values, others = (torch.utils._pytree.tree_leaves(tree) for tree in (one, other))
    return len(values) == len(others) and all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in zip(values, others, strict=True)
    )


def sweep(part: Part, folder: Path, *options: str) -> dict[str, Path]:
    """Train all models; their run folders."""
    part.command("image_translation.train", "-m", f"model={','.join(MODELS)}", *part.options(128), *options,
                 f"hydra.sweep.dir={folder}", "hydra.sweep.subdir=${run.model}")  # fmt: skip
    return {model: folder / model for model in MODELS}


def fp16(part: Part) -> None:
    """``trainer.precision=16-mixed`` trains with finite losses and metrics."""
    options = ("trainer.precision=16-mixed", "trainer.max_epochs=3", "logger=none")
    for model, run in sweep(part, part.folder / "runs", *options).items():
        # Gradients may be infinite until their scale has been found.
        values = [value for row in read_table(run / "metrics.csv", without="gradient") for value in row]
        part.note(**{f"{model}_values": len(values)})
        if not all(map(math.isfinite, values)):
            raise SystemExit(f"{model}: a value in metrics.csv is not finite.")


def exports(part: Part) -> None:
    """Models that were trained here pass the comparison of their exports."""
    for model, run in sweep(part, part.folder / "runs", "trainer.max_steps=2", "logger=none").items():
        part.command("image_translation.export", f"run={run}", "format=torch", f"output={part.folder / model}.pt2")


def syncs(part: Part) -> None:
    """How often a step waits for the GPU: never, unless it is logged."""
    waiting = []
    for name, every in {"not_logged": 1000, "logged": 1}.items():
        options = (f"trainer.log_every_n_steps={every}", "trainer.max_epochs=2",
                   "+callbacks.syncs._target_=benchmarks.steps.Syncs",
                   "+callbacks.syncs.file=${run.dir}/syncs.json")  # fmt: skip
        for model, run in sweep(part, part.folder / name, *options).items():
            noted = json.loads((run / "syncs.json").read_text())
            each = sum(noted["steps"]) / len(noted["steps"])
            print(model, name, noted)
            part.note(**{f"{model}_{name}": each})
            waiting += [f"{model}: {noted['places']}"] if each and name == "not_logged" else []
    if waiting:
        raise SystemExit(f"Steps that are not logged wait for the GPU: {'; '.join(waiting)}")


def training(part: Part) -> None:
    """Real pairs, three tasks and all models, to a table, a page and the last panel of each run."""
    tasks = [task for task in TASKS if not part.pairs or (part.pairs / task).is_dir()]
    epochs, every, runs = 1 if part.tiny else 20, 1 if part.tiny else 5, part.folder / "runs"
    process = part.start(
        "image_translation.train", "-m", f"task={','.join(tasks)}", f"model={','.join(MODELS)}",
        *part.options(128, "${run.task}"), "data.batch_size=4", f"trainer.max_epochs={epochs}",
        f"trainer.check_val_every_n_epoch={every}", f"callbacks.panels.panel_every={every}",
        f"checkpoint.every_n_epochs={epochs}", f"hydra.sweep.dir={runs}", "hydra.sweep.subdir=${run.task}_${run.model}",
    )  # fmt: skip
    try:
        code = process.wait(part.seconds - 30)
    except subprocess.TimeoutExpired:  # compare what there is
        process.kill()
        code = process.wait()
    files = [sorted(folder.glob("*.png")) for folder in sorted(runs.glob("*/panels"))]
    panels = [Image.open(names[-1]) for names in files if names]
    sheet = Image.new("RGB", (max(panel.width for panel in panels), sum(panel.height for panel in panels)))
    for index, panel in enumerate(panels):
        sheet.paste(panel, (0, sum(above.height for above in panels[:index])))
    sheet.save(part.folder / "panels.png")
    part.command("image_translation.compare", f"runs=[{runs}]", f"output={part.folder / 'comparison'}")
    for name in ("table.md", "report.html"):
        shutil.copy(part.folder / "comparison" / name, part.folder / name)
    part.note(runs=len(list(runs.glob("*/test/metrics.json"))), table=(part.folder / "table.md").read_text())
    if code:
        raise SystemExit(f"train ended with status {code}.")


def bench(part: Part) -> None:
    """Bare loop, ``train``, textbook and floor, and ``torch.compile``; the results go to their own file."""
    arguments = ["--rounds", "1", "--only", "machine,training,use,compile", "--results", str(part.results)]
    part.command("benchmarks", *arguments, *(["--tiny"] if part.tiny else []))


PARTS: dict[str, Callable[[Part], None]] = {
    "tests": gpu_tests, "metrics": metrics, "resume": resume, "fp16": fp16, "exports": exports, "syncs": syncs,
    "training": training, "bench": bench,
}  # fmt: skip


if __name__ == "__main__":
    name, place, results, seconds, pairs, tiny = sys.argv[1:]
    PARTS[name](Part(Path(place), Path(results), float(seconds), Path(pairs) if pairs else None, bool(tiny)))
