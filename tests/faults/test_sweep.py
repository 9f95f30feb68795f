"""Many jobs in one process: each is as if it were alone, and nothing piles up."""

import re
import shlex
import signal
from pathlib import Path

import pytest
import torch
from conftest import PROJECT, TINY_PIX2PIX, Command, read_csv, read_json, succeeded
from helpers.processes import start, status, wait_for
from helpers.wandb_runs import read_offline_run


@pytest.mark.slow
def test_a_job_of_a_sweep_is_as_if_it_were_alone(comic_root: Path, command: Command, tmp_path: Path) -> None:
    """A job that fails stops no other. Of earlier jobs nothing stays."""
    options, sweep, alone = [*TINY_PIX2PIX, f"data.root={comic_root}", "logger=wandb"], tmp_path / "s", tmp_path / "a"
    counting = ["+hydra.callbacks.counting._target_=helpers.counting.Counting",
                f"+hydra.callbacks.counting.path={tmp_path / 'counts.json'}"]  # fmt: skip
    result = command("train", "-m", *options, "seed=0,1", "model.norm=instance,odd,batch", f"hydra.sweep.dir={sweep}",
                     *counting, PYTHONPATH=f"{PROJECT}:{PROJECT / 'tests'}")  # fmt: skip
    assert result.returncode == 1
    assert "model.norm must be one of batch, instance; got 'odd'" in result.stderr
    assert "Traceback" not in result.stderr
    jobs = [sweep / f"{number}_comic_pix2pix" for number in range(6)]
    rows = {row["job"][0]: (row["seed"], row["model.norm"], row["status"]) for row in read_csv(sweep / "sweep.csv")}
    assert [rows[job][1:] for job in "012345"] == [
        ("instance", "finished"),
        ("odd", "failed"),
        ("batch", "finished"),
    ] * 2
    assert [rows[job][0] for job in "012345"] == ["0"] * 3 + ["1"] * 3
    finished = [0, 2, 3, 5]
    assert sorted(sweep.glob("*_comic_*")) == [jobs[index] for index in finished]
    manifests = {index: read_json(jobs[index] / "run.json") for index in finished}
    assert {manifest["status"] for manifest in manifests.values()} == {"finished"}
    assert [manifests[index]["seed"] for index in finished] == [0, 0, 1, 1]
    assert len({manifests[index]["wandb_id"] for index in finished}) == 4
    for index in finished:
        run = read_offline_run(jobs[index])
        assert (run.id, run.config["seed"]) == (manifests[index]["wandb_id"], manifests[index]["seed"])

    succeeded(command("train", *options, "seed=1", "model.norm=instance", f"hydra.run.dir={alone}"))
    weights, same, other = (torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
                            for run in (alone, jobs[3], jobs[0]))  # fmt: skip
    assert all(torch.equal(value, same[name]) for name, value in weights.items())
    assert not all(torch.equal(value, other[name]) for name, value in weights.items())  # of another seed

    _, early, *_, late = read_json(tmp_path / "counts.json")["before each job"]
    assert late["objects"] - early["objects"] < 4 * 500  # W&B keeps 220 of each job; a job's config has 1,500
    assert late["threads"] == early["threads"]
    assert late["open files"] == early["open files"]
    assert late["KiB"] - early["KiB"] < 4 * 8 * 1024


def test_a_sweep_that_was_stopped_says_how_to_resume_it(comic_root: Path, command: Command, tmp_path: Path) -> None:
    sweep, first = tmp_path / "a sweep", tmp_path / "a sweep" / "0_comic_pix2pix"
    process = start(tmp_path / "unused", "-m", *TINY_PIX2PIX, f"data.root={comic_root}", "seed=0,1",
                    "trainer.max_epochs=3", f"hydra.sweep.dir='{sweep}'")  # fmt: skip
    assert wait_for(process, (first / "checkpoints" / "last.ckpt").exists)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert status(first) == "interrupted"
    found = re.search(
        "To resume the sweep: python -m image_translation.train (.*)", (tmp_path / "unused.txt").read_text()
    )
    assert found
    succeeded(command("train", *shlex.split(found[1])))
    assert [status(sweep / f"{job}_comic_pix2pix") for job in (0, 1)] == ["finished", "finished"]
