"""A Hydra callback that counts what a process holds after each job of a sweep."""

import gc
import json
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback


class Counting(Callback):
    def __init__(self, path: str) -> None:
        self.path, self.counts = Path(path), list[dict[str, int]]()

    def on_job_start(self, **kwargs: Any) -> None:
        gc.collect()
        status = Path("/proc/self/status").read_text().splitlines()
        memory = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
        threads, files = (len(list(Path("/proc/self", folder).iterdir())) for folder in ("task", "fd"))
        counts = {"objects": len(gc.get_objects()), "threads": threads, "open files": files, "KiB": memory}
        self.counts.append(counts)
        self.path.write_text(json.dumps({"before each job": self.counts}))
