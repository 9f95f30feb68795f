"""The process that runs a command: its rank, and the exit status it ends with."""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

TERMINATED = 143
INTERRUPTED = 130
RANKS = ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK")  # of this process: by torchrun, by srun, by Lightning


def is_main_process() -> bool:
    """False in the further processes of a run on several devices, which write and print nothing."""
    return all(os.environ.get(name, "0") == "0" for name in RANKS)


def started_with_others() -> bool:
    """Whether torchrun or srun has started this process together with others, maybe on other machines."""
    return any(int(os.environ.get(name) or 1) > 1 for name in ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS"))


def provide_home() -> None:
    """Let caches go to a temporary folder if there is no home folder, as in many containers, or none to write to."""
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        cache.mkdir(parents=True, exist_ok=True)
        if os.access(cache, os.W_OK):
            return
        reason = f"{cache} can't be written"
    except (OSError, RuntimeError) as error:  # RuntimeError: HOME is not set and the user is in no list
        reason = str(error).rstrip(".")
    folder = tempfile.mkdtemp(prefix="image_translation-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ |= {"HOME": folder, "XDG_CACHE_HOME": folder}
    print(f"{reason}: caches are temporary. Set XDG_CACHE_HOME to a folder that can be written.", file=sys.stderr)


def exit_status(error: BaseException | None) -> int:
    """0 without an error, 130 or 143 if a signal stopped the run, 1 otherwise."""
    if error is None:
        return 0
    # Lightning turns a KeyboardInterrupt into SystemExit(1).
    if isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt):
        return INTERRUPTED
    return TERMINATED if isinstance(error, SystemExit) and error.code == TERMINATED else 1
