"""Work done ahead of need on background threads."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import TypeVar

from latentpress.data.sources import ItemRef
from latentpress.errors import ItemError
from latentpress.items import Content

__all__ = ["open_ahead", "run_ahead"]

A = TypeVar("A")
R = TypeVar("R")

_THREADS = min(8, os.cpu_count() or 1)
_GROUP = 8
_SMALL = 1 << 18  # samples
_LARGE = 1 << 26


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


def open_ahead(items: Sequence[ItemRef]) -> Iterator[Content | ItemError]:
    """Opens items in order on several threads, and reads all but large ones into memory."""
    largest, remaining = 0, iter(items)

    def groups() -> Iterator[Sequence[ItemRef]]:  # of small ones, as handing one over has its cost
        while group := tuple(islice(remaining, _GROUP if 0 < largest <= _SMALL else 1)):
            yield group

    opened = run_ahead(lambda refs: [*map(_opened, refs)], groups(), threads=_THREADS, ahead=2 * _THREADS)
    for result in chain.from_iterable(opened):
        if isinstance(result, Content):
            largest = max(largest, math.prod(result.shape))
        yield result


def _opened(ref: ItemRef) -> Content | ItemError:
    try:
        content = ref.open()
        large = math.prod(content.shape) > _LARGE
        return content if large else Content.of(content.samples, content.attributes)
    except ItemError as error:
        return error
