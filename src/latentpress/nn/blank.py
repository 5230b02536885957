"""Networks without weights: their shapes alone, made at once, to be given weights or looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import init
from torch.overrides import TorchFunctionMode

__all__ = ["blank"]

_DRAWING = (init.normal_, init.uniform_, init.kaiming_uniform_, Tensor.normal_, Tensor.uniform_)


class _Undrawn(TorchFunctionMode):
    """Leaves out the drawing of first weights: on no device it does nothing but import PyTorch's compiler."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in _DRAWING:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


@contextmanager
def blank() -> Iterator[None]:
    """Modules made in this block have parameters on PyTorch's device "meta".

    >>> with blank():
    ...     layer = torch.nn.Linear(3, 4)
    >>> layer.weight.device.type
    'meta'
    """
    with torch.device("meta"), _Undrawn():
        yield
