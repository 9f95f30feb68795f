"""Reading many files at once."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")
U = TypeVar("U")
CHUNK = 128  # results that are kept in memory at a time


def in_threads(work: Callable[[T], U], items: Sequence[T], title: str | None = None) -> Iterator[U]:
    """Results in order, with a progress bar if there is a title and a terminal. Pillow decodes without the GIL."""
    quiet = title is None or not Console().is_terminal
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        chunks = (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))
        results = chain.from_iterable(pool.map(work, chunk) for chunk in chunks)
        yield from track(results, title or "", len(items), transient=True, disable=quiet)
