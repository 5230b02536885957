"""What counted contexts of pictures know: of the training pictures, and of the picture at hand."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from latentpress.counted.mixing import new_curves
from latentpress.counted.pictures.regression import TRIANGLE
from latentpress.counted.pictures.tables import AROUND, LEVELS, MARGIN, NODES, RIGHT_MARGIN
from latentpress.counted.pictures.vectors import LANES

__all__ = ["BLOCK", "CONTEXTS", "DENSITY", "PREDICTORS", "VALUES", "Learned", "Picture", "Scratch", "Touched"]

CONTEXTS = 18
VALUES = 1024  # of a context
SETS = 4
CLASSES = 32  # of the context that chooses a set's weights
DENSITY = CONTEXTS
MIXED = 24  # inputs: contexts, the density, a constant; rounded up
PREDICTORS = 6
BLOCK = 8  # columns of which the moments are kept together
_HALF = np.uint32(1 << 31)
_FIRST_WEIGHT, _LAST_SCALE = 14418, 1 << 16  # 0.22, 1

Array = NDArray[Any]


class Learned(NamedTuple):
    """What training pictures teach, and every picture goes on from.

    `counters`: uint32 (planes CONTEXTS VALUES, NODES), 22 bits of probability above 10 of count. `weights`:
    int32 (planes SETS CLASSES NODES, MIXED) and `last` (planes NODES, SETS), see `counted/mixing.py`.
    `curves`: refinements, uint16 (planes CLASSES NODES, 33). `moments`: float64 (planes, TRIANGLE), means
    over the training pictures.
    """

    counters: Array
    weights: Array
    last: Array
    curves: Array
    moments: Array

    @classmethod
    def fresh(cls, planes: int) -> Learned:
        """Before the first picture."""
        weights = np.zeros((planes * SETS * CLASSES * NODES, MIXED), np.int32)
        weights[:, :CONTEXTS] = _FIRST_WEIGHT
        return cls(
            np.full((planes * CONTEXTS * VALUES, NODES), _HALF, np.uint32),
            weights,
            np.full((planes * NODES, SETS), _LAST_SCALE // SETS, np.int32),
            new_curves(planes * CLASSES * NODES),
            np.zeros((planes, TRIANGLE)),
        )

    def copy(self) -> Learned:
        """The same, to be changed."""
        return Learned(*(part.copy() for part in self))


class Touched(NamedTuple):
    """Which rows of counters, weights and curves a picture has changed, uint8."""

    counters: Array
    weights: Array
    curves: Array

    @classmethod
    def fresh(cls, learned: Learned) -> Touched:
        """None."""
        rows = (learned.counters, learned.weights, learned.curves)
        return cls(*(np.zeros(len(each), np.uint8) for each in rows))


class Picture(NamedTuple):
    """The picture at hand: planes with margins, and what coding it left at every place.

    `samples`, `signed`, `errors`: int32 (planes, height, width), the samples, and how far the prediction was
    from them in eighths, with and without its sign. `squares`: float64 (PREDICTORS, 4, width), squared errors
    of each predictor in the last rows, row r at r mod 4. Moments, float64: `columns` (blocks, TRIANGLE LANES)
    and `row` (TRIANGLE LANES), what each regression remembers of blocks of columns and of the row; `sums` of
    the plane, and `new` of the block at hand.
    """

    samples: Array
    signed: Array
    errors: Array
    squares: Array
    columns: Array
    row: Array
    sums: Array
    new: Array

    @classmethod
    def fresh(cls, planes: int, height: int, width: int) -> Picture:
        """Nothing known yet."""
        shape = (planes, height + 2 * MARGIN, width + MARGIN + RIGHT_MARGIN)
        blocks, moments = -(-width // BLOCK) + 2, TRIANGLE * LANES
        return cls(
            np.full(shape, LEVELS // 2, np.int32),
            np.zeros(shape, np.int32),
            np.zeros(shape, np.int32),
            np.zeros((PREDICTORS, 4, shape[2])),
            np.zeros((blocks, moments)),
            np.zeros(moments),
            np.zeros(TRIANGLE),
            np.zeros(TRIANGLE),
        )


class Scratch(NamedTuple):
    """Numbers of the sample and the decision at hand.

    Doubles: `z`, inputs less their planes' local means, and the sample; `rules` (AROUND, LANES), the weights
    of the regressions, and `matrix`, `column`, `inverses` to solve them; `means`, `widths`, `powers`
    (PREDICTORS,) of the density and the blend; `real`. Integers: `shares` of the density, `contexts`, `at`;
    `inputs`, `rows`, `outputs`, `mixed` as the mixer takes them; `known`, the
    probabilities of nodes, and `splits`, the density below where they part.
    """

    z: Array
    rules: Array
    matrix: Array
    column: Array
    inverses: Array
    means: Array
    widths: Array
    powers: Array
    real: Array
    shares: Array
    contexts: Array
    at: Array
    inputs: Array
    rows: Array
    outputs: Array
    mixed: Array
    known: Array
    splits: Array

    @classmethod
    def fresh(cls) -> Scratch:
        """Before the first sample."""
        lanes = (AROUND * LANES, TRIANGLE * LANES, AROUND * LANES, LANES)
        doubles = (AROUND, *lanes, PREDICTORS, PREDICTORS, PREDICTORS, 8)
        integers = (PREDICTORS, CONTEXTS, 32)
        arrays = [*(np.zeros(size) for size in doubles), *(np.zeros(size, np.int64) for size in integers)]
        mixer = [np.zeros(MIXED, np.int32), *(np.zeros(SETS, np.int64) for _ in range(3))]
        return cls._make([*arrays, *mixer, *(np.zeros(NODES, np.int64) for _ in range(2))])
