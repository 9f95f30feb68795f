"""Processes on several machines, which torchrun or srun starts: here all are on this one."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, TINY_AUTOENCODER, Command, read_json, succeeded
from helpers.processes import epochs, wait_for
from helpers.results import unlike

NODES = ("trainer=ddp", "trainer.num_nodes=2", "trainer.devices=1", "trainer.accelerator=cpu", "seed=0")
FAILING = """import pytorch_lightning as pl

class Failing(pl.Callback):
    def on_train_batch_start(self, trainer, *_):
        if trainer.global_rank == 1 and trainer.current_epoch == 1:
            raise RuntimeError("the disk of node 7 is on fire")
"""
Processes = list["subprocess.Popen[str]"]


@pytest.fixture
def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def nodes(by: str, port: int, folder: Path, *options: str) -> Processes:
    """One process on each of two nodes."""
    found = []
    for node in "01":
        environment = os.environ | ENVIRONMENT
        environment["PYTHONPATH"] += f":{folder}"
        call = [sys.executable, "-m"]
        if by == "torchrun":
            call += ["torch.distributed.run", "--nnodes=2", f"--node-rank={node}", "--master-addr=127.0.0.1",
                     f"--master-port={port}", "-m"]  # fmt: skip
        else:
            environment |= {
                "SLURM_JOB_ID": str(port),
                "SLURM_JOB_NAME": "train",
                "SLURM_NODELIST": "127.0.0.1",
                "SLURM_NTASKS_PER_NODE": "1",
            }
            environment |= {f"SLURM_{name}": "2" for name in ("NTASKS", "STEP_NUM_TASKS", "NNODES", "JOB_NUM_NODES")}
            environment |= {"SLURM_PROCID": node, "SLURM_NODEID": node, "SLURM_LOCALID": "0", "MASTER_PORT": str(port)}
        call += ["image_translation.train", *TINY_AUTOENCODER, f"data.root={folder / 'pairs'}", *NODES, *options]
        found.append(
            subprocess.Popen(call, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             text=True, start_new_session=True)
        )  # fmt: skip
    return found


def ended(processes: Processes) -> tuple[list[int], str]:
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    return [process.returncode for process in processes], "\n".join(outputs)


@pytest.mark.slow
@pytest.mark.parametrize("by", ["torchrun", "srun"])
def test_two_nodes_are_as_two_devices_of_one(
    by: str, comic_root: Path, free_port: int, command: Command, tmp_path: Path
) -> None:
    """Both are killed on the way, and started again."""
    options = [f"data.root={comic_root}", "trainer.max_epochs=5"]
    one_node = [*NODES, "trainer.num_nodes=1", "trainer.devices=2", f"hydra.run.dir={tmp_path / 'whole'}"]
    succeeded(command("train", *TINY_AUTOENCODER, *one_node, *options))

    run = tmp_path / "nodes"
    options += [f"hydra.run.dir={run}", "if_exists=resume"]
    processes = nodes(by, free_port, tmp_path, *options)
    assert wait_for(processes[0], lambda: epochs(run) > 1), ended(processes)
    for process in processes:
        os.killpg(process.pid, signal.SIGKILL)
        children = f"hydra.run.dir={run}"
        subprocess.run(["pkill", "-9", "-f", children])  # torchrun starts them in sessions of their own
    ended(processes)
    assert read_json(run / "run.json")["status"] == "running"
    statuses, said = ended(nodes(by, free_port, tmp_path, *options))
    assert statuses == [0, 0]
    assert "killed earlier, resumed from last.ckpt" in said
    assert not unlike(tmp_path / "whole", run)
    assert read_json(run / "run.json")["device"]["count"] == 2


@pytest.mark.slow
@pytest.mark.usefixtures("comic_root")
def test_the_reason_of_a_failure_on_another_node_is_said(free_port: int, tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text(FAILING)
    run = tmp_path / "run"
    options = [f"hydra.run.dir={run}", "trainer.max_epochs=2", "+callbacks.failing._target_=failing.Failing"]
    statuses, said = ended(nodes("torchrun", free_port, tmp_path, *options))
    assert statuses == [1, 1]
    reason = "A process of this run failed, process 1: the disk of node 7 is on fire"
    assert f"Error: {reason}\n" in said
    assert read_json(run / "run.json").items() >= {"status": "failed", "error": reason}.items()


def test_they_need_the_name_of_their_folder(comic_root: Path, command: Command, tmp_path: Path) -> None:
    options = [*TINY_AUTOENCODER, *NODES, f"data.root={comic_root}"]
    result = command("train", *options, WORLD_SIZE="2", RANK="0", LOCAL_RANK="0")
    assert result.returncode == 1
    assert result.stderr.startswith("Error: Each process would make a run folder of its own. Name one for all")
    assert not any((tmp_path / "cwd").iterdir())
