"""Labels of items as numbers: indices into the values that they have, or into those that a model knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from latentpress.data.sources import ItemRef, Label
from latentpress.errors import ItemError

__all__ = ["Column", "LabelNames", "Numbers", "label_columns", "renumbered"]

Numbers = NDArray[np.int64]
Column = Numbers | tuple[Numbers, ...]
"""A label of N items, -1 where one has none: (N,), or N arrays of one index a row along the first axis."""


class LabelNames(Protocol):
    """A label as models know it: `latentpress.config.LabelConfig`."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def values(self) -> tuple[str, ...]:
        """Its values, in the model's order."""
        ...

    @property
    def along(self) -> bool:
        """Whether it goes along the rows of items."""
        ...


def label_columns(
    items: Sequence[ItemRef], values: Mapping[str, Sequence[str]], rows: Sequence[int]
) -> dict[str, Column]:
    """The labels of items with so many `rows`, by name, as indices into `values`."""
    columns: dict[str, Column] = {}
    for name, distinct in values.items():
        index = {value: number for number, value in enumerate(distinct)}
        column = [ref.labels.get(name) for ref in items]
        if any(isinstance(value, tuple) for value in column):
            tracks = (v if isinstance(v, tuple) else (v,) * n for v, n in zip(column, rows, strict=True))
            columns[name] = tuple(_numbers(index, track) for track in tracks)
        else:
            columns[name] = _numbers(index, column)
    return columns


def renumbered(column: Column | None, values: Sequence[str], label: LabelNames, rows: Numbers) -> Column:
    """A label of items with so many `rows`, of indices into `values` or None, as a model knows it.

    Raises:
        ItemError: it goes along the items' rows, and the model's does not.
    """
    index = {value: number for number, value in enumerate(label.values)}
    numbers = np.array([*(index.get(value, -1) for value in values), -1])  # the last one is that of -1
    if column is None:
        column = np.full(len(rows), -1)
    if isinstance(column, tuple):
        if not label.along:
            raise ItemError(f"the label {label.name} goes along items, and the model takes one an item")
        return tuple(numbers[track] for track in column)
    column = numbers[column]
    return tuple(np.full(n, value) for n, value in zip(rows, column, strict=True)) if label.along else column


def _numbers(index: Mapping[str, int], values: Iterable[Label | None]) -> Numbers:
    return np.array([-1 if value is None else index.get(str(value), -1) for value in values], np.int64)
