"""The process that runs a command: its rank, and the exit status it ends with."""

import os

TERMINATED = 143
INTERRUPTED = 130


def is_main_process() -> bool:
    """False in the further processes of a run on several devices, which write and print nothing."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))


def exit_status(error: BaseException | None) -> int:
    """0 without an error, 130 or 143 if a signal stopped the run, 1 otherwise."""
    if error is None:
        return 0
    # Lightning turns a KeyboardInterrupt into SystemExit(1).
    if isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt):
        return INTERRUPTED
    return TERMINATED if isinstance(error, SystemExit) and error.code == TERMINATED else 1
