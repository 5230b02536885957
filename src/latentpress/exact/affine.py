"""Integer arithmetic of the integer forms, and how floating-point weights are rounded into it.

An affine map of an integer form is

    y = (W x + b + sum_l T_l[label_l]) >> s        (arithmetic shift: floor)

with int8 inputs x in -127..127, int8 weights W in -127..127, and per output an int32 b (rounding half
included), a shift s in -8..16, a negative one to the left, and one entry of the int32 table T_l of every
label that conditions it. It is *emulated* in float32 as floor(b 2^-s + x W^T 2^-s), b including the
labels' entries. A power of two changes no significand, so that is exact, in any order of summation, on
any device, with or without fused multiply-add, as long as every partial sum stays under 2^24:

    127 sum_i |W_oi| + |b_o| + sum_l max_k |T_lko| <= ACCUMULATOR_LIMIT < 2^24    for every output o,

and, where s is negative, shifted by it too, so that 32 bits hold y.

`proven` checks that on the integers themselves; nothing is executed that did not pass. TF32 and
bfloat16 matrix units with float32 accumulators are exact too, since 127 has seven bits.

Units are how real numbers enter: an integer y of unit u stands for y * u. A scale that an input has
is folded into the columns of the weights, so that parts of different scales share an accumulator.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext

import numpy as np
import torch
from torch import Tensor

from latentpress.errors import CheckpointError, TrainingError

__all__ = ["Affine", "best_exponent", "gate_table", "proven", "round_to_int8", "rounded_affine"]

INT8_LIMIT = 127
RESIDUAL_LIMIT = 2**15 - 1
ACCUMULATOR_LIMIT = 2**24 - 2**16  # leaves room for a residual value to be added
MIN_SHIFT, MAX_SHIFT = -8, 16
LOGIT_UNIT = math.log(2) / 32  # nats: the tables' 2^-5 of an octave
GATE_UNIT = 2.0**-6
GATE_ENTRIES = 1024


@dataclass(frozen=True)
class Affine:
    """The map's integers: int8 (out, in), int32 (out,), int8 (out,), and of every label int32 (rows, out)."""

    weight: Tensor
    bias: Tensor
    shift: Tensor
    labels: tuple[Tensor, ...] = ()


def proven(affine: Affine, name: str) -> Affine:
    """Returns `affine` if its integers are in range and its sums bounded; else raises `CheckpointError`."""
    weight, bias, shift = (part.to(torch.int64) for part in (affine.weight, affine.bias, affine.shift))
    if weight.numel() and weight.abs().max() > INT8_LIMIT:
        raise CheckpointError(f"{name}: a weight lies outside -127..127")
    if shift.numel() and not MIN_SHIFT <= int(shift.min()) <= int(shift.max()) <= MAX_SHIFT:
        raise CheckpointError(f"{name}: a shift lies outside {MIN_SHIFT}..{MAX_SHIFT}")
    sums = INT8_LIMIT * weight.abs().sum(1) + bias.abs()
    for table in affine.labels:
        sums = sums + table.to(torch.int64).abs().amax(0)
    if bool((sums > ACCUMULATOR_LIMIT >> (-shift).clamp(min=0)).any()):
        raise CheckpointError(f"{name}: its sums could pass 2^24 and would not be exact")
    return affine


def rounded_affine(
    weight: Tensor,
    bias: Tensor,
    scales: Tensor,
    units: Tensor,
    offsets: Tensor | float = 0.0,
    labels: Sequence[Tensor] = (),
) -> Affine:
    """Rounds y = weight x + bias to integers, as finely as int8 and the accumulator's bound allow.

    Args:
        weight: (out, in), for real inputs.
        bias: (out,), real.
        scales: (in,), the real value of one step of every integer input.
        units: (out,), the real value of one step of every integer output.
        offsets: (out,), added to the integer outputs.
        labels: (rows, out) each, real, what each value of a label adds.

    Raises:
        TrainingError: weights so large that no shift represents them.
    """
    w = weight.double() * scales.double() / units.double()[:, None]
    b = bias.double() / units.double() + 0.5 + offsets
    tables = [table.double() / units.double() for table in labels]

    def fits(s: int) -> Tensor:
        rounded, sums, *added = (torch.round(part * 2.0**s).abs() for part in (w, b, *tables))
        for table in added:
            sums = sums + table.amax(0)
        limit = ACCUMULATOR_LIMIT >> max(0, -s)
        return (rounded.amax(1) <= INT8_LIMIT) & (INT8_LIMIT * rounded.sum(1) + sums <= limit)

    shift = torch.full((w.shape[0],), MIN_SHIFT, dtype=torch.int64, device=w.device)
    for s in range(MIN_SHIFT, MAX_SHIFT + 1):
        shift[fits(s)] = s  # at last the finest that fits
    if not bool(fits(MIN_SHIFT).all()):
        raise TrainingError("the weights are too large for integers; train with a lower learning rate")
    factor = torch.exp2(shift.double())
    return Affine(
        torch.round(w * factor[:, None]).to(torch.int8),
        torch.round(b * factor).to(torch.int32),
        shift.to(torch.int8),
        tuple(torch.round(table * factor).to(torch.int32) for table in tables),
    )


def round_to_int8(values: Tensor) -> tuple[Tensor, Tensor]:
    """Rounds (N, C) to int8 with one scale a column: integers (N, C) and scales (C,) float64."""
    scales = values.double().abs().amax(0).clamp(min=2.0**-30) / INT8_LIMIT
    return torch.round(values.double() / scales).to(torch.int8), scales


def best_exponent(values: Tensor, units: Tensor, exponents: range, low: int = -INT8_LIMIT) -> Tensor:
    """The exponent e per column for which round(values / (unit 2^e)), clipped to `low`..127, errs least.

    `values` (N, C) real, `units` (C,); returns (C,) int64. The error is the mean square, so that a
    rare large value may be clipped when that lets all others be finer.
    """
    values, units = values.double(), units.double()

    def error(step: Tensor) -> Tensor:
        restored = torch.round(values / step).clamp_(low, INT8_LIMIT).mul_(step)
        return (restored - values).square_().mean(0)

    return torch.stack([error(units * 2.0**e) for e in exponents]).argmin(0) + exponents.start


@functools.cache
def gate_table() -> np.ndarray:
    """The gates' table, part of the format: int32 (2048,), read-only, tanh and then sigmoid.

    Entry i of each half belongs to u = (i - 512) / 64: round(32512 tanh(u)) and round(256 sigmoid(u)),
    so that (tanh * sigmoid + 2^15) >> 16 is the gated unit in steps of 1/127. They come from the
    decimal module, whose exp is correctly rounded by specification: the same integers everywhere.

    >>> gate_table()[[512, 1023, 1024, 1024 + 512]].tolist()
    [0, 32512, 0, 128]
    """
    with localcontext() as context:
        context.prec = 40
        steps = [Decimal(i - GATE_ENTRIES // 2) / 64 for i in range(GATE_ENTRIES)]
        tanh = [_half_up(32512 * (1 - 2 / (1 + (2 * u).exp()))) for u in steps]
        sigmoid = [_half_up(256 / (1 + (-u).exp())) for u in steps]
    table = np.array(tanh + sigmoid, dtype=np.int32)
    table.flags.writeable = False
    return table


def _half_up(x: Decimal) -> int:
    return int((x + Decimal("0.5")).__floor__())
