"""Tables that verbs print."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["aligned"]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table whose first row is its head: the first column left, the others right.

    >>> print(*aligned([("codec", "bytes"), ("webp", "1,234")]), sep="\\n")
    | codec | bytes |
    | ----- | ----: |
    | webp  | 1,234 |
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = ["-" * widths[0], *(f"{'-' * (width - 1)}:" for width in widths[1:])]
    return [
        f"| {row[0]:{widths[0]}} | {' | '.join(map(str.rjust, row[1:], widths[1:]))} |"
        for row in (rows[0], rule, *rows[1:])
    ]
