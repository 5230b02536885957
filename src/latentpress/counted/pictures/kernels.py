"""Pictures coded under counted contexts, compiled: plane by plane, row by row, sample by sample."""

from __future__ import annotations

import numpy as np

from latentpress.autoregressive.engine.compiling import compiled_bare, inlined
from latentpress.autoregressive.engine.loop import choose_symbol
from latentpress.counted.arithmetic import COST, MEASURE
from latentpress.counted.pictures.contexts import EIGHTHS, classify
from latentpress.counted.pictures.decisions import FORETELL, settle
from latentpress.counted.pictures.prediction import blend, learn_moments, look
from latentpress.counted.pictures.state import CONTEXTS
from latentpress.counted.pictures.tables import LEVELS, MARGIN, RIGHT_MARGIN

__all__ = ["code_row", "draw_row", "end_plane", "restore"]

_LIKELIHOOD = 3  # entry of `Scratch.real`
_OCTAVE, _LEAST_LOGIT = 32, 4096  # in the engine's unit


@inlined
def _open_row(plane, row, picture):
    """Makes the left margin of a row, whose moments begin with nothing."""
    samples, i = picture.samples, row + MARGIN
    for k in range(MARGIN):
        samples[plane, i, k] = samples[plane, i - 1, MARGIN]
    picture.row[:] = 0.0


@inlined
def _ready(plane, row, column, learned, picture, scratch):
    """Makes all that the decisions of a sample need."""
    i, j = row + MARGIN, column + MARGIN
    look(plane, i, j, learned, picture, scratch)
    blend(i, j, picture, scratch)
    classify(plane, i, j, picture, scratch)


@inlined
def _settle(
    plane, row, column, width, value, rate, action, streams, stream, learned, touched, picture, scratch
):
    """Codes the sample that is ready, and learns it."""
    for k in range(CONTEXTS):
        touched.counters[scratch.contexts[k]] = 1
    value = settle(plane, value, rate, action, streams, stream, learned, touched, scratch)
    i, j = row + MARGIN, column + MARGIN
    error = value * 8 - scratch.at[EIGHTHS]
    picture.samples[plane, i, j] = value
    picture.signed[plane, i, j], picture.errors[plane, i, j] = error, abs(error)
    learn_moments(plane, i, j, column == width - 1, value, picture, scratch)
    if column == width - 1:
        for k in range(RIGHT_MARGIN):
            picture.samples[plane, i, j + 1 + k] = value
    return value


@compiled_bare
def code_row(plane, row, values, rate, action, streams, stream, learned, touched, picture, scratch):
    """Codes a row of a plane, or decodes it into `values`; returns its bits."""
    bits, width = 0.0, len(values)
    _open_row(plane, row, picture)
    for column in range(width):
        _ready(plane, row, column, learned, picture, scratch)
        values[column] = _settle(
            plane,
            row,
            column,
            width,
            np.int64(values[column]),
            rate,
            action,
            streams,
            stream,
            learned,
            touched,
            picture,
            scratch,
        )
        bits -= np.log2(scratch.real[_LIKELIHOOD])
    return bits


@compiled_bare
def end_plane(plane, height, picture):
    """Makes the margin below a plane, and forgets what is of one plane alone."""
    samples, last = picture.samples, height + MARGIN - 1
    for k in range(MARGIN):
        for j in range(samples.shape[2]):
            samples[plane, last + 1 + k, j] = samples[plane, last, j]
    picture.squares[:] = 0.0
    picture.columns[:] = 0.0
    picture.sums[:] = 0.0


@inlined
def _foretell(plane, learned, touched, scratch, streams, logits):
    """Fills in the logits of all values of the sample that is ready, in the engine's unit."""
    scratch.known[:] = 0
    for value in range(LEVELS):
        settle(plane, np.int64(value), 0, FORETELL, streams, 0, learned, touched, scratch)
        likelihood, logits[value] = scratch.real[_LIKELIHOOD], 0
        while likelihood < 0.5 and logits[value] > -_LEAST_LOGIT:
            likelihood *= 2.0
            logits[value] -= _OCTAVE
        logits[value] -= COST[min(np.int64(likelihood * 4096.0), np.int64(4095))]


@compiled_bare
def draw_row(
    plane, row, values, known, points, choice, room, rate, streams, learned, touched, picture, scratch
):
    """Draws a row of a plane into `values`, of which the first `known` are there, by random `points`.

    `room` has logits, weights and counts of all values.
    """
    logits, weights, counts = room
    width = len(values)
    _open_row(plane, row, picture)
    for column in range(width):
        _ready(plane, row, column, learned, picture, scratch)
        if column >= known:
            _foretell(plane, learned, touched, scratch, streams, logits)
            values[column] = choose_symbol(logits, weights, points[column], choice, counts)
        _settle(
            plane,
            row,
            column,
            width,
            np.int64(values[column]),
            rate,
            MEASURE,
            streams,
            0,
            learned,
            touched,
            picture,
            scratch,
        )


@compiled_bare
def restore(rows, original, touched):
    """Gives rows that were changed back what they held."""
    for row in range(len(touched)):
        if touched[row]:
            for k in range(rows.shape[1]):
                rows[row, k] = original[row, k]
            touched[row] = 0
