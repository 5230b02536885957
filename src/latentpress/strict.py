"""What every configuration dataclass shares: it refuses what it does not know, and values out of bounds."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar, NamedTuple, get_type_hints

from latentpress.errors import ConfigError

__all__ = ["BELOW_ONE", "FRACTION", "POSITIVE", "Bounds", "Strict", "bounds_of", "require", "within"]


class Bounds(NamedTuple):
    """What a value may be, in words and as a test: it stands in a field's type as `Annotated[int, bounds]`.

    Of a tuple, which must not be empty, each value is tested; `None` fits.
    """

    words: str
    hold: Callable[[Any], bool]


def within(low: float, high: float = math.inf) -> Bounds:
    """Both ends are allowed."""
    words = f"at least {low}" if high == math.inf else f"{low} to {high}"
    return Bounds(words, lambda value: low <= value <= high)


POSITIVE = Bounds("positive", lambda value: value > 0)
FRACTION = Bounds("between 0 and 1", lambda value: 0 < value < 1)
BELOW_ONE = Bounds("0 to 1, and not 1", lambda value: 0 <= value < 1)


class Strict:
    """Refuses unknown keys and infinite numbers, through pydantic, and fields out of their `Bounds`."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "allow_inf_nan": False}

    def __post_init__(self) -> None:
        for name, bounds in bounds_of(type(self)).items():
            value = getattr(self, name)
            values = value if isinstance(value, tuple) else (value,)
            fits = len(values) > 0 and all(each is None or bounds.hold(each) for each in values)
            require(fits, f"{name}: {bounds.words}, got {value}")


@cache
def bounds_of(config: type) -> dict[str, Bounds]:
    """The bounds of a configuration's fields, by name."""
    hints = get_type_hints(config, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items() if hasattr(hint, "__metadata__")}


def require(condition: bool, message: str) -> None:
    """Raises `ConfigError` with this message unless the condition holds."""
    if not condition:
        raise ConfigError(message)
