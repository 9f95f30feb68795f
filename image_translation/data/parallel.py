"""Reading many files at once."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")
U = TypeVar("U")


def in_threads(work: Callable[[T], U], items: Sequence[T], title: str | None = None) -> Iterator[U]:
    """Results in order, under a title with a progress bar on a terminal.

    Pillow decodes without holding the interpreter's lock. No more than a few results wait for whoever takes them.
    """
    quiet = title is None or not Console().is_terminal
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[U]] = deque()
        for item in track(items, title or "", transient=True, disable=quiet):
            waiting.append(pool.submit(work, item))
            if len(waiting) > 4 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
