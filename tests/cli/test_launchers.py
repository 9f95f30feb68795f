"""Sweeps whose jobs a launcher runs elsewhere: the same results as one job after the other, whatever is killed."""

import os
import random
import re
import signal
import sys
import time
from pathlib import Path

import pytest
from conftest import TINY_AUTOENCODER, Command, make_comic_root, read_csv, read_json, succeeded
from helpers.processes import kill, start, wait_for
from helpers.results import unlike

HERE = Path(__file__).parent
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("local", "ray")]
SLURM = {
    # Runs each job of an array at once, on this machine.
    "sbatch": r"""#!/bin/bash
cp "$1" "$SLURM_JOBS/job.tmp" && mv "$SLURM_JOBS/job.tmp" "$SLURM_JOBS/job.sh"  # there as a whole
last=$(sed -n 's/^#SBATCH --array=0-\([0-9]*\)%.*/\1/p' "$1")
export SLURM_ARRAY_JOB_ID=77 SLURM_JOB_NUM_NODES=1 SLURM_NTASKS=1 SLURM_NODEID=0 SLURM_PROCID=0 SLURM_LOCALID=0
for i in $(seq 0 $last); do
    SLURM_JOB_ID=$((78 + i)) SLURM_ARRAY_TASK_ID=$i SLURM_JOB_NODELIST=here bash "$1" > /dev/null 2>&1 &
done
echo Submitted batch job 77
""",
    "srun": r"""#!/bin/bash
while [[ $1 == --* ]]; do [[ $1 == --output ]] && { output=$2; shift; }; shift; done
output=${output//%A/$SLURM_ARRAY_JOB_ID}; output=${output//%a/$SLURM_ARRAY_TASK_ID}; output=${output//%t/0}
until [ -d "${output%/*}" ]; do sleep 0.1; done  # Submitit makes it once it knows the job's number
exec "$@" > "$output" 2>&1
""",
    "sacct": r"""#!/bin/bash
echo 'JobID|State|NodeList'
for i in 0 1 2 3; do echo "77_$i|RUNNING|here"; done
""",
}


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A SLURM that has this machine only; what was handed to it is in this folder, as ``job.sh``."""
    programs = tmp_path / "slurm"
    programs.mkdir()
    for name, script in SLURM.items():
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOBS", str(programs))
    return programs


def sweep(tmp_path: Path, name: str, *options: str) -> list[str]:
    place = [f"data.root={tmp_path / 'pairs'}", f"hydra.sweep.dir={tmp_path / name}"]
    return ["-m", *TINY_AUTOENCODER, *place, *options]


@pytest.fixture
def expected(command: Command, tmp_path: Path) -> str:
    """The table of a sweep whose second job fails, without a launcher."""
    make_comic_root(tmp_path / "pairs")
    assert command("train", *sweep(tmp_path, "plain", "data.batch_size=2,0")).returncode == 1
    return (tmp_path / "plain" / "sweep.csv").read_text()


@pytest.mark.parametrize(
    "launcher", ["joblib", "slurm", *(pytest.param(name, marks=pytest.mark.slow) for name in ("local", "ray"))]
)
@pytest.mark.usefixtures("slurm")
def test_a_launcher_changes_no_result(launcher: str, expected: str, tmp_path: Path) -> None:
    if launcher == "ray":
        pytest.importorskip("ray")
    other = tmp_path / "other"
    process = start(other, *sweep(tmp_path, "other", f"launcher={launcher}", "data.batch_size=2,0"))
    assert process.wait(300) == 1
    assert "Traceback" not in other.with_suffix(".txt").read_text()
    assert (other / "sweep.csv").read_text() == expected
    run = other / "0_comic_autoencoder"
    assert not unlike(tmp_path / "plain" / run.name, run)
    assert "- launcher" not in (run / ".hydra" / "overrides.yaml").read_text()  # so it can be resumed elsewhere
    assert "data.batch_size must be at least 1" in (other / "1_comic_autoencoder.txt").read_text()
    assert not (other / "1_comic_autoencoder").exists()
    assert not (other / ".jobs").exists()


def test_what_slurm_gets(slurm: Path, tmp_path: Path) -> None:
    """Against a file that was read line by line."""
    options = ["launcher=slurm", "hydra.launcher.partition=gpu", "hydra.launcher.tasks_per_node=4"]
    (slurm / "srun").write_text("#!/bin/bash")  # it stays in the queue
    process = start(tmp_path / "queued", *sweep(tmp_path, "queued", "seed=0,1", *options))
    assert wait_for(process, (slurm / "job.sh").exists)
    kill(process)
    script = (slurm / "job.sh").read_text().replace(sys.executable, "python").replace(str(tmp_path), "/shared")
    assert script == (HERE / "slurm_job.sh").read_text()


@pytest.mark.slow
def test_before_its_limit_a_job_is_stopped_and_queued_again(command: Command, tmp_path: Path) -> None:
    """By the signal that Submitit sends, and then by the one that SLURM sends before it preempts a job."""
    make_comic_root(tmp_path / "pairs")
    options = ["seed=0", "trainer.max_epochs=40"]
    succeeded(command("train", *sweep(tmp_path, "whole", *options)))
    process = start(tmp_path / "stopped", *sweep(tmp_path, "stopped", *options, "launcher=local"))
    run = tmp_path / "stopped" / "0_comic_autoencoder"

    def stop(program: str, sent: signal.Signals, at: int) -> None:
        assert wait_for(process, lambda: rows(run) >= at)
        (found,) = [pid for pid, words in processes().items() if program in words and str(run.parent) in words]
        os.kill(found, sent)
        assert wait_for(process, lambda: found not in processes())

    stop("submitit.core._submit", signal.SIGUSR2, 5)
    stop("hydra.mode=RUN", signal.SIGTERM, 15)
    assert process.wait(300) == 0
    assert not unlike(tmp_path / "whole" / run.name, run)
    assert (tmp_path / "stopped" / "sweep.csv").read_text() == (tmp_path / "whole" / "sweep.csv").read_text()
    assert len(re.findall("resumed from", (run.parent / f"{run.name}.txt").read_text())) == 2


@pytest.mark.slow
def test_a_sweep_of_which_a_third_is_killed(command: Command, tmp_path: Path) -> None:
    """24 jobs, two at a time. Eight are killed, and once the sweep itself. It is typed again until it is done."""
    make_comic_root(tmp_path / "pairs")
    options = ["seed=0,1,2,3,4,5", "model.norm=batch,instance", "data.hflip=true,false", "trainer.max_epochs=3"]
    succeeded(command("train", *sweep(tmp_path, "whole", *options)))
    more = ["launcher=joblib", "if_exists=resume"]
    chance, kills, typed = random.Random(0), 0, 0
    while True:
        typed += 1
        process = start(tmp_path / "killed", *sweep(tmp_path, "killed", *options, *more))
        while process.poll() is None:
            time.sleep(chance.uniform(1, 6))
            running = [pid for pid, words in processes().items() if is_at_work(words, tmp_path / "killed")]
            if kills < 8 and running:
                os.kill(process.pid if kills == 5 else chance.choice(running), signal.SIGKILL)
                kills += 1
        while any(str(tmp_path / "killed") in words for words in processes().values()):  # what outlived the sweep
            time.sleep(0.5)
        if process.returncode == 0:
            break
        if process.returncode == 1:
            assert {row["status"] for row in read_csv(tmp_path / "killed" / "sweep.csv")} <= {"finished", "interrupted"}
    assert kills == 8
    assert typed > 1
    assert (tmp_path / "killed" / "sweep.csv").read_bytes() == (tmp_path / "whole" / "sweep.csv").read_bytes()
    for run in (tmp_path / "whole").glob("*_comic_*/"):
        assert not unlike(run, tmp_path / "killed" / run.name)


def rows(run: Path) -> int:
    return len(read_csv(run / "metrics.csv")) if (run / "metrics.csv").exists() else 0


def is_at_work(words: str, sweep: Path) -> bool:
    """Whether a process does a job of the sweep that has no result yet."""
    job = re.search(rf"hydra\.run\.dir='?({re.escape(str(sweep))}[^' ]*).* hydra\.mode=RUN", words)
    manifest = Path(job[1]) / "run.json" if job else None
    return bool(manifest and not (manifest.exists() and read_json(manifest)["status"] == "finished"))


def processes() -> dict[int, str]:
    """The command lines of all processes."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # it has ended
            continue
    return {pid: words for pid, words in found.items() if words}
