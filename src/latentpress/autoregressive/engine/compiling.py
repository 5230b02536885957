"""How the engine's functions are compiled, and where the machine code is kept.

Numba compiles a function when it is first called, and keeps the machine code in a folder. It looks only
at a function's own file to see whether that is still right, so the folder's name holds a hash of all the
sources that are compiled together: a change of any of them finds no old code. Files there that are cut short
or emptied, a full disk, and whatever else goes wrong with them cost a compilation and no more.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from numba import config, njit
from numba.core.caching import FunctionCache

from latentpress.coding import tables
from latentpress.errors import LatentpressError
from latentpress.exact import affine

__all__ = ["compiled", "compiled_bare", "inlined"]


_BARE: dict[str, Any] = {"_nrt": False}
_INLINED: dict[str, Any] = {"forceinline": True}


def compiled(function: Callable[..., Any]) -> Any:
    """Compiles a function on its first call, without Python objects, so that threads run side by side.

    The machine code is kept in `NUMBA_CACHE_DIR`, or else in the user's cache folder; where no folder can
    be written it is made anew in every process.
    """
    if config.DISABLE_JIT:  # pyright: ignore[reportAttributeAccessIssue]
        raise LatentpressError("NUMBA_DISABLE_JIT is set, and the step engine is compiled code: unset it")
    return _kept(function, njit(nogil=True, error_model="numpy")(function))


def compiled_bare(function: Callable[..., Any]) -> Any:
    """As `compiled`, a function that makes no arrays: nothing counts who holds those that it is given."""
    return _kept(function, njit(nogil=True, error_model="numpy", **_BARE)(function))


def inlined(function: Callable[..., Any]) -> Any:
    """Compiles a function that makes no arrays into those that call it, as its arguments would cost more."""
    return njit(nogil=True, error_model="numpy", **_BARE, **_INLINED)(function)


def _kept(function: Callable[..., Any], made: Any) -> Any:
    with suppress(RuntimeError, OSError), _cache_folder():  # else there is no folder to write to
        made._cache = _Cache(function)
    return made


class _Cache(FunctionCache):
    """Numba's cache of a function, without its failures: what cannot be read is removed and made again."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The machine code for these types; None where there is none, or none that can be read."""
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # of the file system, and what unpickling half a file raises
            with suppress(Exception):
                self.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keeps machine code, if that can be done."""
        with suppress(Exception):
            try:
                super().save_overload(sig, data)
            except Exception:
                self.flush()
                super().save_overload(sig, data)


@contextmanager
def _cache_folder() -> Iterator[None]:
    before = getattr(config, "CACHE_DIR")  # noqa: B009 - set by Numba when it is imported
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "latentpress"
    setattr(config, "CACHE_DIR", str(Path(before or home) / f"engine-{_sources()}"))  # noqa: B010
    try:
        yield
    finally:
        setattr(config, "CACHE_DIR", before)  # noqa: B010


@functools.cache
def _sources() -> str:
    constants = [Path(str(module.__file__)) for module in (tables, affine)]
    package = Path(__file__).parent.parent.parent
    folders = (Path(__file__).parent, package / "counted")
    files = [*constants, *(file for folder in folders for file in sorted(folder.rglob("*.py")))]
    digest = hashlib.blake2b(digest_size=8)
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
