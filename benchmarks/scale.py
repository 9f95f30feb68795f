"""What grows with pairs, runs and trials, for docs/scale.md: seconds, memory and bytes.

python -m benchmarks.scale [--parts pairs,checks,checkpoints,runs,trials]

Everything is made in a temporary folder.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from image_translation.data.sample import sample_folder
from image_translation.runs.files import write_text

TRAIN = [sys.executable, "-m", "image_translation.train", "task=comic", "logger=none", "progress=none"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS))
    chosen = parser.parse_args().parts.split(",")
    for name in chosen:
        with tempfile.TemporaryDirectory() as folder:
            for line in PARTS[name](Path(folder)):
                print(f"| {name} | {line} |", flush=True)


def timed(*command: str) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def make_pairs(root: Path, count: int) -> Path:
    """Small pairs, all unlike each other; fifty for val and test each."""
    rng = np.random.default_rng(0)
    for split, number in (("train", count), ("val", 50), ("test", 50)):
        for side in ("face", "comics"):
            (root / split / side).mkdir(parents=True)
        for index in range(number):
            seed = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
            image = Image.fromarray(seed).resize((64, 64), Image.Resampling.BICUBIC)
            image.save(root / split / "face" / f"{index:06}.png")
            ImageOps.solarize(image, 128).save(root / split / "comics" / f"{index:06}.png")
    return root


def pairs(folder: Path) -> Iterator[str]:
    """A whole run of one step, the first and the second time."""
    for count in (1_000, 10_000, 50_000):
        root = make_pairs(folder / str(count), count)
        step = [*TRAIN, "model=autoencoder", "model.base_channels=8", f"data.root={root}", "trainer.max_steps=1",
                "trainer.limit_val_batches=1", "data.image_size=64"]  # fmt: skip
        first_look, again = (timed(*step, f"hydra.run.dir={folder}/{count}_{look}") for look in range(2))
        yield f"{count:,} pairs: first {first_look:.0f} s, seen before {again:.1f} s"


def checks(folder: Path) -> Iterator[str]:
    """``check``."""
    for count in (1_000, 3_000, 10_000):
        root = make_pairs(folder / str(count), count)
        command = [sys.executable, "-m", "image_translation.check", "task=comic", f"data.root={root}"]
        start = time.perf_counter()
        process = subprocess.Popen([*command, f"output={folder}/checked"], stdout=subprocess.DEVNULL)
        _, _, usage = os.wait4(process.pid, 0)
        seconds, memory = time.perf_counter() - start, usage.ru_maxrss / 1024
        yield f"{count:,} pairs: {seconds:.0f} s, {memory:,.0f} MiB"


def checkpoints(folder: Path) -> Iterator[str]:
    """What the last checkpoint of each model takes, of networks for 64 x 64."""
    for model in ("resunet", "resunet_gan", "autoencoder", "pix2pix"):
        run = folder / model
        seconds = []
        for every in (0, 1):
            shutil.rmtree(run, ignore_errors=True)
            step = [*TRAIN, f"model={model}", "data.batch_size=1", "trainer.max_steps=12", "data.image_size=64"]
            step += [f"checkpoint.every_n_steps={every}", "trainer.limit_val_batches=1", f"hydra.run.dir={run}"]
            seconds.append(timed(*step, "evaluate=[]"))
        size = (run / "checkpoints" / "last.ckpt").stat().st_size / 2**20
        yield f"{model}: {size:.0f} MiB, {(seconds[1] - seconds[0]) / 12:.2f} s"


def runs(folder: Path) -> Iterator[str]:
    """``compare`` over copies of one run: 100 images, four seeds of each experiment."""
    root = folder / "pairs"
    shutil.copytree(sample_folder("comic"), root)
    for side in ("face", "comics"):
        first = min((root / "test" / side).iterdir())
        for number in range(100):
            shutil.copy(first, root / "test" / side / f"{number:03}{first.suffix}")
    base = folder / "base"
    timed(*TRAIN, "model=autoencoder", "model.base_channels=8", "data.image_size=64", "trainer.max_epochs=2",
          f"data.root={root}", f"hydra.run.dir={base}")  # fmt: skip
    config, manifest = ((base / name).read_text() for name in (".hydra/config.yaml", "run.json"))
    for count in (100, 300, 1000):
        for number in range(count):
            run = folder / f"{count}" / f"{number}"
            shutil.copytree(base, run, copy_function=os.link)
            write_text(run / ".hydra" / "config.yaml", re.sub(r"lr: .*", f"lr: {1 + number // 4}", config))
            write_text(run / "run.json", re.sub(r'"seed": \d+', f'"seed": {number % 4}', manifest))
        seconds = timed(sys.executable, "-m", "image_translation.compare", f"runs=[{folder}/{count}]",
                        f"output={folder}/page")  # fmt: skip
        size = (folder / "page" / "report.html").stat().st_size / 2**20
        yield f"{count:,} runs: {seconds:.0f} s, page {size:.1f} MiB"


def trials(folder: Path) -> Iterator[str]:
    """What ``tune`` reads when a worker starts: a journal of trials with ten validations each."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = folder / "journal.log"

    def storage() -> JournalStorage:
        return JournalStorage(JournalFileBackend(str(path)))

    study, done = optuna.create_study(storage=storage(), study_name="study"), 0
    for count in (100, 1000, 3000):
        for _ in range(count - done):
            trial = study.ask({"lr": optuna.distributions.FloatDistribution(1e-4, 1e-2, log=True)})
            for step in range(10):
                trial.report(step / 10, step)
            study.tell(trial, trial.params["lr"])
        done = count
        start = time.perf_counter()
        again = optuna.load_study(storage=storage(), study_name="study")
        opened = time.perf_counter() - start
        again.ask({"lr": optuna.distributions.FloatDistribution(1e-4, 1e-2, log=True)})
        asked = time.perf_counter() - start - opened
        size = path.stat().st_size / 2**20
        yield f"{count:,} trials: {size:.1f} MiB, opened in {opened:.1f} s, next trial in {asked:.2f} s"


PARTS = {"pairs": pairs, "checks": checks, "checkpoints": checkpoints, "runs": runs, "trials": trials}

if __name__ == "__main__":
    main()
