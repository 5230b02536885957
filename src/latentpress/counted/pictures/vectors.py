"""Four doubles at a time: the arithmetic of four regressions side by side, compiled.

Multiplying and adding are two operations, each rounded: the results are those of the same code one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

__all__ = ["LANES", "add_decayed", "gather_moments", "multiply", "subtract_product"]

LANES = 4
_DOUBLES = ir.VectorType(ir.DoubleType(), LANES)
_ALIGNED = 8  # as arrays of doubles are
Build = Callable[[Any, "_Vectors"], Any]


class _Vectors:
    """The arguments of an operation: pairs of an array and an index, or numbers."""

    def __init__(self, context: Any, builder: Any, kinds: Sequence[Any], values: Sequence[Any]) -> None:
        self.context, self.builder, self.kinds, self.values = context, builder, kinds, values

    def _pointer(self, place: int) -> Any:
        array = self.context.make_array(self.kinds[place])(self.context, self.builder, self.values[place])
        pointer = self.builder.gep(array.data, [self.values[place + 1]])
        return self.builder.bitcast(pointer, _DOUBLES.as_pointer())

    def load(self, place: int) -> Any:
        """The four numbers at the index that comes behind an array."""
        value = self.builder.load(self._pointer(place))
        value.align = _ALIGNED
        return value

    def store(self, value: Any, place: int) -> Any:
        """Writes four numbers."""
        self.builder.store(value, self._pointer(place)).align = _ALIGNED
        return self.context.get_dummy_value()

    def spread(self, place: int) -> Any:
        """A number four times."""
        none, first = ir.Constant(_DOUBLES, ir.Undefined), ir.Constant(ir.IntType(32), 0)
        order = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        one = self.builder.insert_element(none, self.values[place], first)
        return self.builder.shuffle_vector(one, none, order)


def _generator(build: Callable[[Any, _Vectors], Any]) -> Any:
    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return build(builder, _Vectors(context, builder, signature.args, values))

    return generate


@intrinsic
def _subtract_product(typing: Any, y: Any, at: Any, a: Any, at_a: Any, b: Any, at_b: Any) -> Any:
    def build(builder: Any, on: _Vectors) -> Any:
        return on.store(builder.fsub(on.load(0), builder.fmul(on.load(2), on.load(4))), 0)

    index = types.int64
    return types.void(y, index, a, index, b, index), _generator(build)


@intrinsic
def _multiply(typing: Any, y: Any, at: Any, a: Any, at_a: Any) -> Any:
    def build(builder: Any, on: _Vectors) -> Any:
        return on.store(builder.fmul(on.load(0), on.load(2)), 0)

    return types.void(y, types.int64, a, types.int64), _generator(build)


@intrinsic
def _add_decayed(typing: Any, y: Any, at: Any, a: Any, at_a: Any, x: Any) -> Any:
    def build(builder: Any, on: _Vectors) -> Any:
        return on.store(builder.fadd(builder.fmul(on.load(2), on.load(0)), on.spread(4)), 0)

    return types.void(y, types.int64, a, types.int64, types.float64), _generator(build)


@intrinsic
def _gather_moments(
    typing: Any, y: Any, at: Any, row: Any, at_row: Any, m: Any, left: Any, m2: Any, here: Any, m3: Any, right: Any,
    rates: Any, of_row: Any, rates2: Any, of_left: Any, rates3: Any, of_right: Any, rates4: Any, of_x: Any, x: Any,
) -> Any:  # fmt: skip
    def build(builder: Any, on: _Vectors) -> Any:
        total = builder.fmul(on.load(10), on.load(2))
        total = builder.fadd(total, builder.fmul(on.load(12), on.load(4)))
        total = builder.fadd(total, on.load(6))
        total = builder.fadd(total, builder.fmul(on.load(14), on.load(8)))
        return on.store(builder.fadd(total, builder.fmul(on.load(16), on.spread(18))), 0)

    index = types.int64
    arrays = (y, index, row, index, m, index, m2, index, m3, index)
    return types.void(*arrays, rates, index, rates2, index, rates3, index, rates4, index, types.float64), (
        _generator(build)
    )


subtract_product: Any = _subtract_product
"""y[at:at + 4] -= a[at_a:at_a + 4] b[at_b:at_b + 4], as compiled code calls it."""

multiply: Any = _multiply
"""y[at:at + 4] *= a[at_a:at_a + 4]."""

add_decayed: Any = _add_decayed
"""y[at:at + 4] = a[at_a:at_a + 4] y[at:at + 4] + x."""

gather_moments: Any = _gather_moments
"""y = rates row + rates2 m + m2 + rates3 m3 + rates4 x, each at the index behind it."""
