"""How long it takes from a typed command to a good model: a plot and a table.

python -m benchmarks.quality <folder of a task's pairs> [--task monet] [--folder outputs/quality]

Pix2Pix is trained for 900 steps of 4 images at 128×128; its final val PSNR is what others are timed to. Each command is
timed from its start, with imports, reading, validations and panels. A run that is there already is not repeated. For
a machine that does nothing else.
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from matplotlib.figure import Figure
from pytorch_lightning import Callback, LightningModule, Trainer

from benchmarks import PROJECT, python_environment

RUNS: dict[str, tuple[str, ...]] = {
    "pix2pix": ("model=pix2pix", "trainer.max_steps=900"),
    "autoencoder": ("model=autoencoder", "trainer.max_steps=900"),
    "resunet": ("model=resunet", "trainer.max_steps=900"),
    "resunet_gan": ("model=resunet_gan", "trainer.max_steps=900"),
    "fast": ("experiment=fast", "trainer.val_check_interval=25"),
}
EVERY = ("trainer.max_epochs=-1", "trainer.check_val_every_n_epoch=null", "trainer.val_check_interval=50")
SHARED = ("data.image_size=128", "data.batch_size=4", "callbacks.panels.panel_every=1000", "logger=none")


class ValTimes(Callback):
    """Notes when each validation ended: seconds since the epoch of the clock.

    Args:
        file: where they go, as JSON.
    """

    def __init__(self, file: str) -> None:
        self.file = Path(file)
        self.ends: list[float] = []

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self.ends.append(time.time())
            self.file.write_text(json.dumps(self.ends))


def train(name: str, pairs: Path, task: str, folder: Path) -> None:
    run, start = folder / name, time.time()
    every = () if name == "fast" else EVERY
    subprocess.run(
        [sys.executable, "-m", "image_translation.train", f"task={task}", f"data.root={pairs}", *RUNS[name], *every,
         *SHARED, f"hydra.run.dir={run}", "+callbacks.times._target_=benchmarks.quality.ValTimes",
         f"+callbacks.times.file={run / 'times.json'}"],
        cwd=PROJECT, env=python_environment(), check=True,
    )  # fmt: skip
    (run / "start.json").write_text(json.dumps(start))


def read_curve(run: Path) -> tuple[list[float], list[float]]:
    """Seconds since the command was typed, and val PSNR, of each validation after the first step."""
    with (run / "metrics.csv").open() as lines:
        scores = [float(row["val/psnr"]) for row in csv.DictReader(lines) if row["val/psnr"]]
    start, ends = (json.loads((run / file).read_text()) for file in ("start.json", "times.json"))
    return [end - start for end in ends[-len(scores) :]], scores


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__.splitlines()[0])
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--task", default="monet")
    parser.add_argument("--folder", type=Path, default=Path("outputs/quality"))
    arguments = parser.parse_args()
    folder = arguments.folder.absolute()
    for name in RUNS:
        if not (folder / name / "start.json").exists():
            train(name, arguments.pairs.absolute(), arguments.task, folder)
    curves = {name: read_curve(folder / name) for name in RUNS}
    wanted = curves["pix2pix"][1][-1]
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    print(f"| | seconds to {wanted:.2f} dB | share | best val PSNR | seconds in all |\n|---|---:|---:|---:|---:|")
    whole = curves["pix2pix"][0][-1]
    for name, (seconds, scores) in curves.items():
        axes.plot(seconds, scores, label=name, marker=".")
        reached = next((second for second, score in zip(seconds, scores, strict=True) if score >= wanted), None)
        told = ("never", "") if reached is None else (f"{reached:.0f}", f"{reached / whole:.0%}")
        print(f"| {name} | {told[0]} | {told[1]} | {max(scores):.2f} | {seconds[-1]:.0f} |")
    axes.axhline(wanted, color="gray", linestyle=":", linewidth=1)
    shown = statistics.median(score for _, scores in curves.values() for score in scores)
    axes.set(xlabel="seconds since the command was typed", ylabel="val PSNR, dB", ylim=(shown - 4, None))
    axes.set_title(f"{arguments.task}, 128×128, batches of 4; dotted: Pix2Pix after 900 steps")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(folder / "quality.png", dpi=110)
    print(f"Wrote {folder / 'quality.png'}")


if __name__ == "__main__":
    main()
