"""What every configuration dataclass shares: it refuses what it does not know."""

from __future__ import annotations

from typing import Any, ClassVar

from latentpress.errors import ConfigError

__all__ = ["Strict", "require"]


class Strict:
    """Tells pydantic to refuse unknown keys, and numbers that are not finite."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "allow_inf_nan": False}


def require(condition: bool, message: str) -> None:
    """Raises `ConfigError` with this message unless the condition holds."""
    if not condition:
        raise ConfigError(message)
