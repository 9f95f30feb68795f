"""For the rare hour with a GPU: tests, checks, a real training and the benchmarks, in under eight minutes.

python -m benchmarks.gpu [--parts tests,bench] [--pairs folder] [--out folder] [--seconds 460] [--tiny]

The benchmarks run first and alone, the other parts after them and side by side. Each part is a process of its own with
a time limit. When it ends, its result is saved in ``benchmarks/results/<device>.json`` and in ``out``, beside the log,
the table, the report and the panels. A part that fails or is too slow stops no other; the exit status is 1 then.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Lock

import torch

from benchmarks import PAGE, PROJECT, RESULTS, device_name, file_name, find_device, python_environment
from benchmarks.parts import PARTS
from benchmarks.report import write_report

# The longest that each may take, in seconds.
LIMITS: dict[str, float] = {
    "tests": 150,
    "metrics": 100,
    "resume": 200,
    "fp16": 100,
    "exports": 100,
    "syncs": 150,
    "training": 220,
    "bench": 240,
}
KEPT = ("table.md", "report.html", "panels.png")
lock = Lock()
running: set[subprocess.Popen[bytes]] = set()


def run(name: str, arguments: argparse.Namespace, end: float, file: Path) -> bool:
    """Run a part until it ends or its time is over, and save what it found; whether it succeeded."""
    start = time.monotonic()
    limit = LIMITS[name] * (5 if arguments.tiny else 1)  # tiny is for slow machines
    seconds = max(1.0, min(limit, end - start))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        folder = Path(place)
        settings = [folder, file.parent, seconds, arguments.pairs or "", "tiny" if arguments.tiny else ""]
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.parts", name, *map(str, settings)], cwd=PROJECT,
                env=python_environment() | {"TMPDIR": place}, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        running.add(process)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with all that it started
            code = process.wait()
        running.remove(process)
        lines = (folder / "log").read_text(errors="replace").splitlines() or [""]
        problem = None if code == 0 else f"stopped after {seconds:.0f} s" if code == -signal.SIGKILL else lines[-1]
        found = json.loads((folder / "facts.json").read_text()) if (folder / "facts.json").exists() else {}
        check = {"problem": problem, "seconds": round(time.monotonic() - start, 1), "facts": found}
        with lock:
            facts = json.loads(file.read_text()) if file.exists() else {"rounds": {}}
            facts.setdefault("checks", {})[name] = check
            file.write_text(json.dumps(facts, indent=1) + "\n")
            with (arguments.out / "gpu.log").open("a") as log:
                print(f"===== {name}", *lines, sep="\n", file=log)
            for kept in (file, *(folder / kept for kept in KEPT)):
                if kept.exists() and kept.parent != arguments.out:
                    shutil.copy(kept, arguments.out)
            shown = ", ".join(f"{key}={value}" for key, value in found.items() if key != "table")
            words = [f"{name}: {problem or 'passed'} ({check['seconds']} s) {shown}", *(lines[-15:] if problem else [])]
            print(*words, sep="\n", flush=True)
    return problem is None


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default=",".join(PARTS), help="some of: " + ",".join(PARTS))
    parser.add_argument("--pairs", type=Path, help="a folder with pairs for comic, monet, coloring; else the sample")
    parser.add_argument("--out", type=Path, default=PROJECT / "outputs" / "gpu", help="where the results go")
    parser.add_argument("--seconds", type=float, default=460, help="for everything")
    parser.add_argument("--tiny", action="store_true", help="only try it: small models and images, results in --out")
    arguments = parser.parse_args()
    wanted = arguments.parts.split(",")
    if unknown := set(wanted) - set(PARTS):
        parser.error(f"--parts: {', '.join(sorted(unknown))} is none of {', '.join(PARTS)}")
    end = time.monotonic() + arguments.seconds
    arguments.out, arguments.pairs = arguments.out.absolute(), arguments.pairs and arguments.pairs.absolute()
    arguments.out.mkdir(parents=True, exist_ok=True)
    device = device_name(find_device())
    file = (arguments.out if arguments.tiny else RESULTS) / file_name(device)
    print(f"{device}, torch {torch.__version__}: {', '.join(wanted)}", flush=True)
    start = partial(run, arguments=arguments, end=end, file=file)
    with ThreadPoolExecutor(len(PARTS)) as pool:
        try:
            succeeded = list(pool.map(start, [name for name in wanted if name == "bench"]))
            succeeded += pool.map(start, [name for name in wanted if name != "bench"])
        except KeyboardInterrupt:
            for process in running:
                os.killpg(process.pid, signal.SIGKILL)
            raise
    if not arguments.tiny:
        write_report(PAGE, file)
    print(f"Results: {file}; log, table and panels: {arguments.out}")
    sys.exit(not all(succeeded))


if __name__ == "__main__":
    main()
