"""Signals that wait for the end of a step."""

import signal
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist

from image_translation.cli.process import TERMINATED

# SLURM sends SIGUSR1 some time before its limit, if asked to: --signal=SIGUSR1@90; Submitit asks for SIGUSR2. A closed
# terminal sends SIGHUP.
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
NUMBERS = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]


class Signals:
    """Notes a signal, and raises it when asked; the same one again is raised at once.

    A queue and a launcher may send one each.

    Raised in the middle of a step, it would leave weights that have learned from a batch which is not counted. Several
    processes agree, so that all stop at the same batch.

    Args:
        processes: how many train together.
    """

    def __init__(self, processes: int = 1) -> None:
        self.received: int | None = None
        # Between the hosts, so that no device is waited for.
        self.group: Any = dist.new_group(backend="gloo") if processes > 1 else None
        for number in NUMBERS:  # Lightning restores the handlers after the fit
            signal.signal(number, self._note)

    def agree(self, late: bool) -> tuple[bool, bool]:
        """Whether any process has received one, and whether any is ``late``."""
        if self.group is not None:
            state = torch.tensor([self.received or 0, int(late)])
            dist.all_reduce(state, dist.ReduceOp.MAX, self.group)
            self.received, late = int(state[0]) or None, bool(state[1])
        return self.received is not None, late

    def stop(self) -> None:
        """Raise the one that was received."""
        raise KeyboardInterrupt if self.received == signal.SIGINT else SystemExit(TERMINATED)

    def _note(self, number: int, _: FrameType | None) -> None:
        if number == self.received:
            self.stop()
        self.received = self.received or number
