"""Many jobs in one process: each is as if it were alone, and nothing piles up."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import pytest
import torch
from conftest import PROJECT, TINY_PIX2PIX, Command, make_comic_root, succeeded
from wandb_file import read_offline_runs

MIB = 2**20


def test_a_job_of_a_sweep_is_as_if_it_were_alone(comic_root: Path, command: Command, tmp_path: Path) -> None:
    """Its weights are those of the same run by itself; its W&B run is its own."""
    options = [*TINY_PIX2PIX, f"data.root={comic_root}", "logger=wandb"]
    succeeded(
        command("train", "-m", *options, "seed=0,1,0", "model.norm=instance,batch", f"hydra.sweep.dir={tmp_path}/s")
    )
    jobs = sorted((tmp_path / "s").glob("*_pix2pix"), key=lambda path: int(path.name.partition("_")[0]))
    alone = tmp_path / "alone"
    succeeded(command("train", *options, "seed=0", "model.norm=batch", f"hydra.run.dir={alone}"))

    def weights(run: Path) -> dict[str, torch.Tensor]:
        state: dict[str, torch.Tensor] = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        return state

    configs = [json.loads((job / "run.json").read_text()) for job in jobs]
    assert [config["seed"] for config in configs] == [0, 0, 1, 1, 0, 0]
    for job in (jobs[1], jobs[5]):
        assert all(torch.equal(value, weights(alone)[name]) for name, value in weights(job).items())
    assert all(torch.equal(value, weights(jobs[4])[name]) for name, value in weights(jobs[0]).items())
    assert not all(torch.equal(value, weights(jobs[2])[name]) for name, value in weights(jobs[0]).items())
    assert len({config["wandb_id"] for config in configs}) == 6
    for job, config in zip(jobs, configs, strict=True):
        (run,) = read_offline_runs(job)
        assert run.folder.name.endswith(config["wandb_id"])
        assert run.config["seed"] == config["seed"]


@pytest.mark.slow
@pytest.mark.parametrize(("logger", "count"), [("none", 200), ("wandb", 40)])
def test_many_jobs_take_no_more_than_few(logger: str, count: int, tmp_path: Path) -> None:
    root = make_comic_root(tmp_path / "pairs")
    options = [*TINY_PIX2PIX, f"data.root={root}", f"logger={logger}", f"seed=range(0,{count})",
               f"hydra.sweep.dir={tmp_path / 's'}"]  # fmt: skip
    with (tmp_path / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "image_translation.train", "-m", *options], cwd=tmp_path,
            stdout=output, stderr=output, env=os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        memory, handles, threads = [], [], []
        for job in range(1, count):
            while not (tmp_path / "s" / f"{job}_comic_pix2pix" / "run.json").exists():  # the one before is done
                assert process.poll() is None, (tmp_path / "output.txt").read_text()[-2000:]
                time.sleep(0.01)
            status = dict(line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
            memory.append(int(status["VmRSS"].split()[0]) / 1024)
            threads.append(int(status["Threads"]))
            handles.append(len(list(Path(f"/proc/{process.pid}/fd").iterdir())))
        assert process.wait(120) == 0
    few, fifth = slice(count // 10, count // 10 + count // 5), count // 5
    facts = {"MiB": memory, "handles": handles, "threads": threads}
    print({name: (median(values[few]), median(values[-fifth:])) for name, values in facts.items()})
    assert median(handles[-fifth:]) <= median(handles[few]) + 2
    assert median(threads[-fifth:]) <= median(threads[few]) + 2
    growth = 1.02 if logger == "none" else 1.05  # W&B keeps some of each run
    assert median(memory[-fifth:]) < growth * median(memory[few])
