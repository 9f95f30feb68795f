"""Reading many files at once, in threads and in worker processes."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")
U = TypeVar("U")
CHUNK = 128  # results that are kept in memory at a time
GRACE = 60  # seconds that a worker process lives on after SIGTERM


def in_threads(work: Callable[[T], U], items: Sequence[T], title: str | None = None) -> Iterator[U]:
    """Results in order, with a progress bar if there is a title and a terminal. Pillow decodes without the GIL."""
    quiet = title is None or not Console().is_terminal
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        chunks = (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))
        results = chain.from_iterable(pool.map(work, chunk) for chunk in chunks)
        yield from track(results, title or "", len(items), transient=True, disable=quiet)


def outlast_signals(_: int) -> None:
    """Let a worker read on when a terminal or a queue signals all processes, so that the main one can finish its step.

    SIGTERM ends it after a while, in case the main process has sent it and waits.
    """
    for name in ("SIGINT", "SIGHUP", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE))
