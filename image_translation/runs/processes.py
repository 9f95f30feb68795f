"""Which processes there are."""

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def is_alive(manifest: Mapping[str, Any]) -> bool:
    """Whether the process of a run exists, as far as this machine can tell."""
    process = manifest.get("process")
    if not isinstance(process, dict) or process.get("host") != platform.node() or process.get("id") == os.getpid():
        return False
    try:
        os.kill(int(process["id"]), 0)
    except PermissionError:
        pass  # it is somebody else's
    except (OSError, KeyError, TypeError, ValueError, OverflowError):
        return False
    return process.get("started") == process_start(process["id"])  # an id is given again after a while


def process_start(process: int) -> int | None:
    """When a process started, in the system's own ticks; None where that can't be seen, or if it has ended."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        state, *numbers = stat.rpartition(")")[2].split()  # see proc(5)
        return None if state in "ZX" else int(numbers[18])  # who was killed may wait for a parent to notice
    except (OSError, ValueError, IndexError):
        return None
