"""Many jobs in one process: each is as if it were alone, and nothing piles up."""

import json
from pathlib import Path

import torch
from conftest import PROJECT, TINY_PIX2PIX, Command, succeeded
from helpers.wandb_runs import read_offline_run


def test_a_job_of_a_sweep_is_as_if_it_were_alone(comic_root: Path, command: Command, tmp_path: Path) -> None:
    """Its weights are those of the same run by itself, its W&B run is its own, and of earlier jobs nothing stays."""
    options, sweep, alone = [*TINY_PIX2PIX, f"data.root={comic_root}", "logger=wandb"], tmp_path / "s", tmp_path / "a"
    counting = ["+hydra.callbacks.counting._target_=helpers.counting.Counting",
                f"+hydra.callbacks.counting.path={tmp_path / 'counts.json'}"]  # fmt: skip
    path = f"{PROJECT}:{PROJECT / 'tests'}"
    succeeded(command("train", "-m", *options, "seed=0,1", "model.norm=instance,batch", f"hydra.sweep.dir={sweep}",
                      *counting, PYTHONPATH=path))  # fmt: skip
    succeeded(command("train", *options, "seed=1", "model.norm=instance", f"hydra.run.dir={alone}"))

    def weights(run: Path) -> dict[str, torch.Tensor]:
        state: dict[str, torch.Tensor] = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        return state

    jobs = [sweep / f"{number}_comic_pix2pix" for number in range(4)]
    manifests = [json.loads((job / "run.json").read_text()) for job in jobs]
    assert [manifest["seed"] for manifest in manifests] == [0, 0, 1, 1]
    assert all(torch.equal(value, weights(alone)[name]) for name, value in weights(jobs[2]).items())
    assert not all(torch.equal(value, weights(jobs[0])[name]) for name, value in weights(jobs[2]).items())
    assert len({manifest["wandb_id"] for manifest in manifests}) == 4
    for job, manifest in zip(jobs, manifests, strict=True):
        run = read_offline_run(job)
        assert (run.id, run.config["seed"]) == (manifest["wandb_id"], manifest["seed"])

    _, early, _, late = json.loads((tmp_path / "counts.json").read_text())  # before each job
    assert late["objects"] - early["objects"] < 2 * 500  # W&B keeps 220 of each job; a job's config has 1,500
    assert late["threads"] == early["threads"]
    assert late["open files"] == early["open files"]
    assert late["KiB"] - early["KiB"] < 2 * 8 * 1024
