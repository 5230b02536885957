"""Tables that verbs print."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["markdown"]


def markdown(rows: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> str:
    """A Markdown table whose first row is its head, the first column left, the others right; then notes.

    >>> print(markdown([("codec", "bytes"), ("webp", "1,234")], ["at equal bytes"]))
    | codec   |   bytes |
    |:--------|--------:|
    | webp    |   1,234 |
    <BLANKLINE>
    - at equal bytes
    """
    from tabulate import tabulate

    sides = ["left", *["right"] * (len(rows[0]) - 1)]
    table = tabulate(rows[1:], rows[0], "pipe", colalign=sides, disable_numparse=True)
    return "\n".join([table, "", *(f"- {note}" for note in notes)]) if notes else table
