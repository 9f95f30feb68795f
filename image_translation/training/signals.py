"""Signals that wait for a good moment."""

import signal
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist

from image_translation.cli.process import TERMINATED

# SLURM sends SIGUSR1 some time before its limit, if asked to: --signal=SIGUSR1@90.
NUMBERS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)]


class Signals:
    """Notes a signal, and raises it when asked; a second one is raised at once.

    Raised wherever Python happens to be, a signal would leave networks that have learned from a batch which is not
    counted, or be lost: an exception in a destructor is. Several processes agree, so that all stop at the same batch.

    Args:
        processes: how many train together.
    """

    def __init__(self, processes: int = 1) -> None:
        self.received: int | None = None
        # By the hosts, so that no device is waited for.
        self.group: Any = dist.new_group(backend="gloo") if processes > 1 else None
        for number in NUMBERS:  # Lightning restores the handlers
            signal.signal(number, self._note)

    def wanted(self) -> bool:
        """Whether this process or another has received one."""
        if self.group is not None:
            numbers = torch.tensor([self.received or 0])
            dist.all_reduce(numbers, dist.ReduceOp.MAX, self.group)
            self.received = int(numbers) or None
        return self.received is not None

    def agree(self, choice: bool) -> bool:
        """The first process's choice."""
        if self.group is None:
            return choice
        choices = torch.tensor([choice])
        dist.broadcast(choices, 0, self.group)
        return bool(choices)

    def stop(self) -> None:
        """Raise the one that was received."""
        raise KeyboardInterrupt if self.received == signal.SIGINT else SystemExit(TERMINATED)

    def _note(self, number: int, _: FrameType | None) -> None:
        again, self.received = self.received is not None, number
        if again:
            self.stop()
