"""Work done ahead of need on background threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["run_ahead"]

A = TypeVar("A")
R = TypeVar("R")


def run_ahead(function: Callable[[A], R], arguments: Iterable[A], *, threads: int, ahead: int) -> Iterator[R]:
    """Yields `function(argument)` in order, computed up to `ahead` arguments before it is asked for.

    Arguments may be endless. An exception is raised where its result would have come. When the
    iterator is closed, dropped or fails, what has not begun is cancelled and nobody waits for the rest.

    >>> list(run_ahead(abs, [-1, -2, 3], threads=2, ahead=2))
    [1, 2, 3]
    """
    executor = ThreadPoolExecutor(threads, thread_name_prefix="latentpress-ahead")
    pending: deque[Future[R]] = deque()
    try:
        for argument in arguments:
            pending.append(executor.submit(function, argument))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
