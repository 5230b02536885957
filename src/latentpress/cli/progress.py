"""Progress bars and lines of figures, on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from latentpress.cli.streams import say_plainly

__all__ = ["StageBar", "format_bytes", "format_seconds", "progress_bar", "say"]

_SHOW_AFTER = 1.0  # seconds
_STAGE_FORMAT = "{l_bar}{bar:20}| {elapsed}<{remaining}{postfix}"


def _tqdm() -> Any | None:
    """The class of progress bars; without tqdm, or without a stderr, there are none."""
    if sys.stderr is None:
        return None
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm


class StageBar:
    """One bar after another, each for a stage; they show on a terminal only.

    Args:
        options: further arguments of `tqdm.tqdm`.
    """

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._make = _tqdm()
        self._stage: str | None = None
        self._bar: Any = None
        self._figures: dict[str, float] = {}

    def __enter__(self) -> StageBar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, stage: str, done: float, total: float, figures: Mapping[str, float] | None = None) -> None:
        """Moves the bar of `stage` to `done`; figures that are not given again stay."""
        if self._make is None:
            return
        if self._bar is None or self._stage != stage:
            self.__exit__()
            self._stage, self._figures = stage, {}
            self._bar = self._make(total=total, desc=stage, file=sys.stderr, disable=None, **self._options)
        if figures:
            self._figures |= figures
            shown = ", ".join(f"{name} {value:.4g}" for name, value in self._figures.items())
            self._bar.set_postfix_str(shown, refresh=False)
        self._bar.update(done - self._bar.n)

    @classmethod
    def of_shares(cls) -> StageBar:
        """A bar for stages of which the share that is done is known, and no count."""
        return cls(bar_format=_STAGE_FORMAT)


@contextmanager
def progress_bar(unit: str = "item") -> Iterator[Callable[[str, int, int], None]]:
    """Gives a function to call with (what is done, how much of it, of how much).

    A bar appears when something takes longer than a second, and goes when it is done.
    """
    with StageBar(unit=unit, delay=_SHOW_AFTER, leave=False) as bar:
        yield bar.show


def say(text: str) -> None:
    """Prints a line to stderr, above a bar if there is one."""
    bar = _tqdm()
    if bar is None:
        say_plainly(text)
    else:
        with bar.external_write_mode(file=sys.stderr):
            say_plainly(text)


def format_bytes(size: float) -> str:
    """Words a number of bytes.

    >>> format_bytes(999), format_bytes(123_456)
    ('999 B', '123.5 kB')
    """
    units = ["B", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.0f} B" if units[0] == "B" else f"{size:.1f} {units[0]}"


def format_seconds(seconds: float) -> str:
    """Words a time.

    >>> format_seconds(4.26), format_seconds(200)
    ('4.3 s', '3 min 20 s')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"
