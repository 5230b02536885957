"""Contexts of a picture's sample: classes of its predictions and of the errors about it, compiled."""

from __future__ import annotations

import math

import numpy as np

from latentpress.autoregressive.engine.compiling import inlined
from latentpress.counted.pictures.prediction import BLEND
from latentpress.counted.pictures.state import CONTEXTS, VALUES
from latentpress.counted.pictures.tables import LOG_CLASSES, SIGNED, SIGNED_FEW, SIGNED_OFFSET

__all__ = ["BASE", "EIGHTHS", "ERROR", "FRACTION", "NEAR", "SPREAD", "TEXTURE", "classify"]

BASE, EIGHTHS, FRACTION, NEAR, SPREAD, TEXTURE, ERROR = range(7)  # entries of `Scratch.at`
_REACH = 4000  # of differences in eighths


@inlined
def _signed(difference):
    return SIGNED[min(max(difference, np.int64(-_REACH)), np.int64(_REACH)) + SIGNED_OFFSET]


@inlined
def _few(difference):
    return SIGNED_FEW[min(max(difference, np.int64(-_REACH)), np.int64(_REACH)) + SIGNED_OFFSET]


@inlined
def _log(value):
    return LOG_CLASSES[min(value, np.int64(8191))]


@inlined
def _off(value, eighths):
    """The class of how far a prediction is from the blend."""
    return _signed(np.int64(math.floor(value * 8.0 + 0.5)) - eighths)


@inlined
def _others(plane, i, j, errors):
    """The other planes' errors about a place."""
    total = np.int64(0)
    for p in range(plane):
        about = errors[p, i, j - 1] + errors[p, i, j + 1] + errors[p, i - 1, j] + errors[p, i + 1, j]
        here = (4 * errors[p, i, j] + 2 * about) // 12
        total = here if p == 0 else (total + 2 * here) // 3
    return total


NAMES = (
    "errors near by, fraction, spread",
    "errors near by, other planes' errors",
    "the whole regression's error, its errors",
    "the short regression's error, errors near by",
    "median and smooth predictions",
    "plain prediction, spread",
    "signs of three errors",
    "spread and steepness, or other planes' errors",
    "spread, the regression's errors",
    "the prediction itself",
    "texture",
    "regression and median predictions",
    "from above and from the left",
    "signs of sums of errors",
    "mean of two errors, steepness",
    "errors to the left and above",
    "further errors, or the mean of two predictions",
    "all activities",
)
"""Of the contexts, for people."""


@inlined
def classify(plane, i, j, picture, scratch):
    """Fills in the contexts of a sample, and the numbers of it in `at`; the blend is made."""
    samples, signed, errors = picture.samples, picture.signed, picture.errors
    at, means = scratch.at, scratch.means
    prediction = scratch.real[BLEND]
    eighths = np.int64(prediction * 8.0 + 0.5)
    base, fraction = (eighths + 4) >> 3, (eighths + 4) & 7
    reference = base * 8
    w, n = np.int64(samples[plane, i, j - 1]), np.int64(samples[plane, i - 1, j])
    nw, ne = np.int64(samples[plane, i - 1, j - 1]), np.int64(samples[plane, i - 1, j + 1])
    ww, nn = np.int64(samples[plane, i, j - 2]), np.int64(samples[plane, i - 2, j])
    nne = np.int64(samples[plane, i - 2, j + 1])
    texture = np.int64(w > base) + 2 * np.int64(n > base) + 4 * np.int64(nw > base) + 8 * np.int64(ne > base)
    texture += 16 * np.int64(ww > base) + 32 * np.int64(nn > base)
    texture += 64 * np.int64(2 * n - nn > base) + 128 * np.int64(2 * w - ww > base)
    e_w, e_n = np.int64(errors[plane, i, j - 1]), np.int64(errors[plane, i - 1, j])
    e_nw, e_ne = np.int64(errors[plane, i - 1, j - 1]), np.int64(errors[plane, i - 1, j + 1])
    around = (
        3 * e_w + 3 * e_n + 2 * e_nw + 2 * e_ne + errors[plane, i, j - 2] + errors[plane, i - 2, j]
    ) // 12
    least, most = means[0], means[0]
    for k in range(1, len(means)):
        least, most = min(least, means[k]), max(most, means[k])
    squares = picture.squares
    ols = 2.0 * squares[0, i & 3, j - 1] + 2.0 * squares[0, (i - 1) & 3, j]
    ols += squares[0, (i - 1) & 3, j - 1] + squares[0, (i - 1) & 3, j + 1]
    near, spread = _log(np.int64(around)), _log(np.int64((most - least) * 4.0))
    error = _log(np.int64(4.0 * math.sqrt(ols / 6.0)))
    others = _log(np.int64(_others(plane, i, j, errors)))
    steep = _log(abs(w - nw) + abs(n - nw) + abs(n - ne) + abs(w - ww) + abs(n - nn) + abs(ne - nne))
    d_near, d_whole = _off(means[0], reference), _off(means[1], reference)
    d_median, d_smooth = _off(means[2], reference), _off(means[3], reference)
    plain, north, west = w + n - nw, n + ne - nne, 2 * w - ww
    if plane > 0:
        before, here = samples[plane - 1], np.int64(samples[plane - 1, i, j])
        plain += here - before[i, j - 1] - before[i - 1, j] + before[i - 1, j - 1]
        north, west = n + here - before[i - 1, j], w + samples[0, i, j] - samples[0, i, j - 1]
    s_w, s_n = np.int64(signed[plane, i, j - 1]), np.int64(signed[plane, i - 1, j])
    s_nw, s_ne = np.int64(signed[plane, i - 1, j - 1]), np.int64(signed[plane, i - 1, j + 1])
    activity = min(max(near // 5 - 1, np.int64(0)), np.int64(3))
    c, spread23, near31 = scratch.contexts, min(spread, np.int64(23)), min(near, np.int64(31))
    error23, others31 = min(error, np.int64(23)), min(others, np.int64(31))
    c[0] = near31 * 8 + fraction + 256 * min(max((spread - 4) // 5, np.int64(0)), np.int64(3))
    c[1] = near31 * 32 + others31
    c[2] = d_near * 24 + error23
    c[3] = d_whole * 24 + min(near, np.int64(23))
    c[4] = d_median * 21 + d_smooth
    c[5] = _signed(plain * 8 - reference) * 24 + spread23
    c[6] = _few(s_w) + 9 * _few(s_n) + 81 * _few(s_ne)
    c[7] = spread23 * 32 + min(steep, np.int64(31))
    c[8] = min(spread, np.int64(31)) * 32 + min(error, np.int64(31))
    c[9] = base * 4 + activity
    c[10] = texture * 4 + activity
    c[11] = d_near * 21 + d_median
    c[12] = _signed(north * 8 - reference) * 21 + _signed(west * 8 - reference)
    c[13] = _signed(s_w + s_n) * 21 + _signed(s_nw + s_ne)
    c[14] = min(_log((e_w + e_n) >> 1), np.int64(31)) * 32 + min(steep, np.int64(31))
    c[15] = min(_log(e_w), np.int64(31)) * 32 + min(_log(e_n), np.int64(31))
    further = (e_ne + e_nw + errors[plane, i - 1, j + 2] + errors[plane, i - 1, j - 2]) >> 2
    c[16] = min(_log(np.int64(further)), np.int64(31)) * 32 + min(spread, np.int64(31))
    if plane > 0:
        second = np.int64(signed[1, i, j]) if plane > 1 else np.int64(0)
        c[7] = _signed(np.int64(signed[0, i, j])) * 21 + _signed(second)
        c[16] = _off(0.5 * (means[0] + means[1]), reference) * 24 + min(others, np.int64(23))
    activities = near + error + spread + (others if plane > 0 else steep)
    c[17] = min(activities * 3 // 2, np.int64(127)) * 8 + fraction
    for k in range(CONTEXTS):
        c[k] += (plane * CONTEXTS + k) * VALUES
    at[BASE], at[EIGHTHS], at[FRACTION], at[ERROR] = base, eighths, fraction, min(error, np.int64(31))
    at[NEAR], at[SPREAD], at[TEXTURE] = near31, min(spread, np.int64(31)), texture & 31
