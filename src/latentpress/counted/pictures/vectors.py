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


class _Vectors:
    """The arguments of an operation: arrays, indices and numbers."""

    def __init__(self, context: Any, builder: Any, kinds: Sequence[Any], values: Sequence[Any]) -> None:
        self.context, self.builder, self.kinds, self.values = context, builder, kinds, values

    def _pointer(self, array: int, index: Any) -> Any:
        made = self.context.make_array(self.kinds[array])(self.context, self.builder, self.values[array])
        return self.builder.bitcast(self.builder.gep(made.data, [index]), _DOUBLES.as_pointer())

    def load_from(self, array: int, index: int) -> Any:
        """The four numbers of an array from a known index on."""
        value = self.builder.load(self._pointer(array, ir.Constant(ir.IntType(64), index)))
        value.align = _ALIGNED
        return value

    def load(self, array: int, index: int) -> Any:
        """The four numbers of an argument from the index on that another argument is."""
        value = self.builder.load(self._pointer(array, self.values[index]))
        value.align = _ALIGNED
        return value

    def store(self, value: Any, array: int, index: int) -> Any:
        """Writes four numbers."""
        self.builder.store(value, self._pointer(array, self.values[index])).align = _ALIGNED
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
        return on.store(builder.fsub(on.load(0, 1), builder.fmul(on.load(2, 3), on.load(4, 5))), 0, 1)

    index = types.int64
    return types.void(y, index, a, index, b, index), _generator(build)


@intrinsic
def _multiply(typing: Any, y: Any, at: Any, a: Any, at_a: Any) -> Any:
    def build(builder: Any, on: _Vectors) -> Any:
        return on.store(builder.fmul(on.load(0, 1), on.load(2, 3)), 0, 1)

    return types.void(y, types.int64, a, types.int64), _generator(build)


@intrinsic
def _add_decayed(typing: Any, y: Any, at: Any, a: Any, at_a: Any, x: Any) -> Any:
    def build(builder: Any, on: _Vectors) -> Any:
        return on.store(builder.fadd(builder.fmul(on.load(2, 3), on.load(0, 1)), on.spread(4)), 0, 1)

    return types.void(y, types.int64, a, types.int64, types.float64), _generator(build)


@intrinsic
def _gather_moments(
    typing: Any, y: Any, row: Any, left: Any, here: Any, right: Any, at: Any, rates: Any, x: Any
) -> Any:
    def build(builder: Any, on: _Vectors) -> Any:
        of_row, of_left, of_right, of_x = (on.load_from(6, LANES * k) for k in range(4))
        total = builder.fmul(of_row, on.load(1, 5))
        total = builder.fadd(total, builder.fmul(of_left, on.load(2, 5)))
        total = builder.fadd(total, on.load(3, 5))
        total = builder.fadd(total, builder.fmul(of_right, on.load(4, 5)))
        return on.store(builder.fadd(total, builder.fmul(of_x, on.spread(7))), 0, 5)

    return types.void(y, row, left, here, right, types.int64, rates, types.float64), _generator(build)


subtract_product: Any = _subtract_product
"""y[at:at + 4] -= a[at_a:at_a + 4] b[at_b:at_b + 4], as compiled code calls it."""

multiply: Any = _multiply
"""y[at:at + 4] *= a[at_a:at_a + 4]."""

add_decayed: Any = _add_decayed
"""y[at:at + 4] = a[at_a:at_a + 4] y[at:at + 4] + x."""

gather_moments: Any = _gather_moments
"""y = rates[0] row + rates[1] left + here + rates[2] right + rates[3] x at an index; four `rates` each."""
