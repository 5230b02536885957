"""The prior of a delta-VAE made from docs/archive.md alone, one number at a time: it shares no code with the
package. The tables are by floating point, which at these sizes rounds to the same integers."""

import itertools
import math


def table(function, step, count, one):
    return [math.floor(function(i * step) * one + 0.5) for i in range(count)] + [one]


PHI = table(lambda x: 1 - math.erfc(x / math.sqrt(2)) / 2, 2.0**-8, 1792, 1 << 30), 8
LOGISTIC = table(lambda x: 1 / (1 + math.exp(-x)), 2.0**-6, 1024, 1 << 15), 6


def curve(entries_and_bits, x):
    entries, bits = entries_and_bits
    a = min(abs(x), (len(entries) - 1 << bits) - 1)
    i, r = a >> bits, a % (1 << bits)
    y = entries[i] + ((entries[i + 1] - entries[i]) * r >> bits)
    return y if x >= 0 else entries[-1] - y


def gaussian(mean, scale, step, size):
    """A frequency table."""
    v = math.floor(2 ** (26 - (scale - 64) / 16) + 0.5)
    bounds = [0]
    for k in range(1, size):
        away = (2 * k - size) * step * 32 - mean
        x = abs(away) * v >> 16
        bounds.append(k + (((1 << 24) - size) * curve(PHI, x if away >= 0 else -x) >> 30))
    bounds.append(1 << 24)
    return [high - low for low, high in itertools.pairwise(bounds)]


def symbols_of(step):
    return 2 * (127 // step) + 1


def rounded(x, bits):
    return x + (1 << bits >> 1) >> bits


def clip(x, most):
    return max(-most, min(most, x))


class LatentPrior:
    """One sequence; `tensors` are the model's integers as nested lists."""

    def __init__(self, tensors):
        self.tensors = tensors
        self.channels, self.width, self.step = tensors["structure"]
        self.h, self.c = [0] * self.width, [0] * self.width
        self.q, self.first = [0] * self.channels, True
        self._read()

    def _affine(self, name, x):
        parts = (self.tensors[f"{name}.{part}"] for part in ("weight", "bias", "shift"))
        return [
            rounded(sum(w * value for w, value in zip(row, x, strict=True)), t) + bias
            for row, bias, t in zip(*parts, strict=True)
        ]

    def _read(self):
        u = self._affine("gates", [q << 8 for q in self.q] + self.h)
        gates = [curve(LOGISTIC, x) for x in u]
        for j in range(self.width):
            i, f, g, o = gates[j :: self.width]
            self.c[j] = clip(rounded(f * self.c[j] + 2 * i * (2 * g - (1 << 15)), 15), 2**31 - 1)
            tanh = 2 * curve(LOGISTIC, self.c[j] >> 3) - (1 << 15)
            self.h[j] = clip(rounded(o * tanh, 15), 2**15 - 1)

    def tables(self, step=None):
        """A table of each channel of the next step of the sequence, for latents on multiples of `step`."""
        step = step or self.step
        predicted, d = self._affine("corrections", self.h), self.channels
        tables = []
        for p in range(d):
            mean = clip(rounded(self.tensors["alphas"][p] * self.q[p] << 6, 15) + predicted[p], 2**20)
            stretch = rounded((2 * curve(LOGISTIC, predicted[d + p]) - (1 << 15)) * 23637, 15)
            scale = rounded(self.tensors["scales"][0 if self.first else 1][p] + stretch, 8)
            tables.append(gaussian(mean, max(0, min(191, scale)), step, symbols_of(step)))
        return tables

    def push(self, symbols):
        """Reads the symbols of a step, at the prior's usual multiples."""
        self.read([(s - symbols_of(self.step) // 2) * self.step for s in symbols])

    def read(self, integers):
        """Reads the latents of a step."""
        self.q, self.first = list(integers), False
        self._read()


class LatentLanes:
    """A block of codes, as `lpz_reader` wants it: every lane has a sequence at each place of a row."""

    def __init__(self, tensors, shape, lanes):
        self.places = [[LatentPrior(tensors) for _ in range(lanes)] for _ in range(math.prod(shape[1:]))]
        self.place, self.component, self.symbols = 0, 0, []

    def tables(self):
        return [sequence.tables()[self.component] for sequence in self.places[self.place]]

    def push(self, symbols):
        self.symbols.append(symbols)
        self.component += 1
        if self.component == self.places[0][0].channels:
            for sequence, own in zip(self.places[self.place], zip(*self.symbols, strict=True), strict=True):
                sequence.push(own)
            self.place, self.component, self.symbols = (self.place + 1) % len(self.places), 0, []


class LatentRows:
    """The latents of one band of a chain, as `lpz_reader` wants them: all places of a row at once."""

    def __init__(self, tensors, width):
        self.places = [LatentPrior(tensors) for _ in range(math.prod(width))]
        self.step = self.places[0].step

    def tables(self, step):
        return [sequence.tables(step) for sequence in self.places]

    def push(self, row):
        for sequence, integers in zip(self.places, row, strict=True):
            sequence.read(integers)
