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
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        self.counts.append(
            {
                "objects": len(gc.get_objects()),
                "threads": int(status["Threads"]),
                "open files": len(list(Path("/proc/self/fd").iterdir())),
                "KiB": int(status["VmRSS"].split()[0]),
            }
        )
        self.path.write_text(json.dumps({"before each job": self.counts}))
