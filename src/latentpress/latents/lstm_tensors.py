"""The integers of an `IntegerLSTM`: their tensors, their ranges, and how they are made.

| tensor | type and shape | meaning |
|---|---|---|
| `structure` | int64 (3,) | channels d (1 to 64), width w (0 to 1024, 0 being AR(1) alone), step (1 to 127) |
| `alphas` | int16 (d,) | AR(1)'s coefficients, in units of 2^-15 |
| `scales` | int32 (2, d) | AR(1)'s scale at the first step and later, in units of 2^-8 |
| `gates` | affine (4 w, d + w) | of 2^8 times latents and outputs, to gates' arguments in units of 2^-12 |
| `corrections` | affine (2 d, w) | of outputs, to d shifts of the mean, then d corrections of the scale |

The gates are the LSTM's, input, forget, cell and output, of w each; those of the cell are doubled, since
tanh(x) = 2 logistic(2 x) - 1. An affine is `.weight` int16 (out, in), `.bias` int32 (out,) and `.shift`
int8 (out,) and stands for

    y = ((W x + 2^s / 2) >> s) + b          (arithmetic shift: floor)

Every input x is an integer of at most 2^15, as is every weight, so with at most 64 + 1024 inputs any sum of
W x stays under 2^41: exact in float64, in whatever order it is added, and whatever the weights are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from latentpress.coding.gaussians import LATENT_LIMIT, LATENT_UNIT, MEAN_BITS, SCALES_PER_OCTAVE, UNIT_SCALE
from latentpress.errors import ConfigError, TrainingError
from latentpress.exact.tensors import Spec, checked_against, read_structure
from latentpress.latents.auxiliary import AuxiliaryPrior

__all__ = ["ar1_integers", "checked", "integers_of"]

ALPHA_BITS = 15
ARGUMENT_BITS = 12
INPUT_BITS = 8
OUTPUT_BITS = 15
SCALE_BITS = 8

PARTS = ("weight", "bias", "shift")

_WHAT = "integer LSTM"
_MAX_SHIFT = 40
_LIMIT = 2**15 - 1
_LARGEST_BIAS = 2**30
_LARGEST_SCALE = 2**20


def checked(tensors: Mapping[str, Tensor]) -> tuple[list[int], dict[str, Tensor]]:
    """Channels, width and step, and the tensors, contiguous on the CPU, if they are an integer LSTM's.

    Raises:
        CheckpointError: a tensor is missing, unknown, of another type or shape, or out of range.
    """
    structure = read_structure(tensors, _structure, _WHAT)
    return structure, checked_against(_specs(*structure), tensors, _WHAT)


def _structure(integers: Sequence[int]) -> list[int]:
    """Channels, width and step, if each is in its range; else raises `ConfigError`."""
    limits = (1, 64), (0, 1024), (1, LATENT_LIMIT)
    if len(integers) != 3 or not all(a <= i <= b for i, (a, b) in zip(integers, limits, strict=True)):
        raise ConfigError(f"channels, width and step are out of range: {list(integers)}")
    return list(integers)


def _specs(channels: int, width: int, step: int) -> Iterator[Spec]:
    """Of every tensor."""
    yield Spec("structure", torch.int64, (3,))
    yield Spec("alphas", torch.int16, (channels,))
    yield Spec("scales", torch.int32, (2, channels), -_LARGEST_SCALE, _LARGEST_SCALE)
    sizes = (4 * width, channels + width), (2 * channels, width)
    for name, (out, inputs) in zip(("gates", "corrections"), sizes, strict=True):
        yield Spec(f"{name}.weight", torch.int16, (out, inputs))
        yield Spec(f"{name}.bias", torch.int32, (out,), -_LARGEST_BIAS, _LARGEST_BIAS)
        yield Spec(f"{name}.shift", torch.int8, (out,), 0, _MAX_SHIFT)


def ar1_integers(alphas: Sequence[float], step: int) -> dict[str, Tensor]:
    """The integers of AR(1) with those coefficients, all between -1 and 1, and no LSTM."""
    blank = {spec.name: torch.zeros(spec.shape, dtype=spec.dtype) for spec in _specs(len(alphas), 0, step)}
    return blank | _autoregression(alphas, 0, step)


def integers_of(auxiliary: AuxiliaryPrior, step: int) -> dict[str, Tensor]:
    """Rounds a trained auxiliary prior to integers.

    Raises:
        TrainingError: a weight is not finite, or so large that no shift represents it.
    """
    lstm, correction, width = auxiliary.lstm, auxiliary.correction, auxiliary.config.width
    w = {name: value.detach().cpu().double() for name, value in lstm.named_parameters()}
    argument = torch.full((4 * width, 1), 2.0**-ARGUMENT_BITS, dtype=torch.float64)
    argument[2 * width : 3 * width] /= 2
    gates = torch.cat(
        [w["weight_ih_l0"] * (LATENT_UNIT / 2**INPUT_BITS), w["weight_hh_l0"] / 2**OUTPUT_BITS], dim=1
    )
    units = torch.full((2 * auxiliary.channels, 1), LATENT_UNIT / 2**MEAN_BITS, dtype=torch.float64)
    units[auxiliary.channels :] = 2.0 ** (1 - ARGUMENT_BITS)  # 4 tanh(x / 4) = 4 (2 logistic(x / 2) - 1)
    weight, bias = (part.detach().cpu().double() for part in (correction.weight, correction.bias))
    return {
        **_autoregression(auxiliary.alphas, width, step),
        **_rounded("gates", gates / argument, (w["bias_ih_l0"] + w["bias_hh_l0"])[:, None] / argument),
        **_rounded("corrections", weight / 2**OUTPUT_BITS / units, bias[:, None] / units),
    }


def _autoregression(alphas: Sequence[float], width: int, step: int) -> dict[str, Tensor]:
    """All tensors that are no affine map."""
    coefficients = [max(-_LIMIT, min(_LIMIT, round(alpha * 2**ALPHA_BITS))) for alpha in alphas]
    scales = [[_scale(0.0)] * len(alphas), [_scale(0.5 * math.log1p(-alpha * alpha)) for alpha in alphas]]
    return {
        "structure": torch.tensor(_structure([len(alphas), width, step])),
        "alphas": torch.tensor(coefficients, dtype=torch.int16),
        "scales": torch.tensor(scales, dtype=torch.int32),
    }


def _scale(log_std: float) -> int:
    octaves = (log_std - math.log(LATENT_UNIT)) / math.log(2)
    return round((UNIT_SCALE + SCALES_PER_OCTAVE * octaves) * 2**SCALE_BITS)


def _rounded(name: str, weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
    """The affine map y = weight x + bias, `weight` (out, in) and `bias` (out, 1) real, in all of 16 bits."""
    finite = bool(weight.isfinite().all() and bias.isfinite().all())
    if not finite or weight.abs().max() > _LIMIT or bias.abs().max() > _LARGEST_BIAS:
        raise TrainingError(
            f"the auxiliary prior's {name} are too large for integers; train with a lower learning rate"
        )
    shift = torch.zeros(len(weight), dtype=torch.int64)
    for s in range(1, _MAX_SHIFT + 1):  # the finest that fits; whatever fits, fits when coarser
        shift[torch.round(weight * 2.0**s).abs().amax(1) <= _LIMIT] = s
    rounded = torch.round(weight * torch.exp2(shift.double())[:, None]).to(torch.int16)
    values = rounded, torch.round(bias[:, 0]).to(torch.int32), shift.to(torch.int8)
    return {f"{name}.{part}": value for part, value in zip(PARTS, values, strict=True)}
