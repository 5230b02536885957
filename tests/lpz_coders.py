"""Tables and coders of .lpz archives made from docs/archive.md alone: no code is shared with the package."""

import itertools

MASK = (1 << 64) - 1


def normalize(weights):
    spread = (1 << 24) - len(weights)
    r = (spread << 38) // sum(weights)
    bounds = [k + (w * r >> 38) for k, w in enumerate(itertools.accumulate(weights, initial=0))]
    bounds[-1] = 1 << 24
    return [high - low for low, high in itertools.pairwise(bounds)]


def weight(below):
    octave, i = divmod(min(1023, below), 32)
    return ((1 << 31) - i * (44946432 - 356000 * i)) >> octave


def table_of_logits(logits):
    top = max(logits)
    return normalize([weight(top - x) for x in logits])


class RangeDecoder:
    def __init__(self, data):
        assert len(data) % 4 == 0
        self.words = iter([int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)])
        self.lower, self.range, self.point = 0, MASK, 0
        for _ in range(2):
            self.point = self.point << 32 | next(self.words, 0)

    def decode(self, table):
        scale = self.range >> 24
        q = ((self.point - self.lower) & MASK) // scale
        assert q < 1 << 24, "damaged"
        symbol, below = 0, 0
        while q >= below + table[symbol]:
            below += table[symbol]
            symbol += 1
        self.lower, self.range = (self.lower + scale * below) & MASK, scale * table[symbol]
        if self.range < 1 << 32:
            self.lower, self.range = self.lower << 32 & MASK, self.range << 32
            self.point = (self.point << 32 & MASK) | next(self.words, 0)
        return symbol


def supply(i):
    z = 0x9E3779B97F4A7C15 * (i + 1) % 2**64
    z = 0xBF58476D1CE4E5B9 * (z ^ z >> 30) % 2**64
    z = 0x94D049BB133111EB * (z ^ z >> 27) % 2**64
    return (z ^ z >> 31) >> 32


class Stack:
    def __init__(self, data):
        words = [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]
        self.words, self.state = words[:-2], words[-2] + 2**32 * words[-1]

    def point(self):
        return self.state % 2**24

    def drop(self, low, count):
        self.state = count * (self.state // 2**24) + self.point() - low
        if self.state < 2**32:
            self.state = 2**32 * self.state + self.words.pop()

    def pop(self, table):
        low = symbol = 0
        while self.point() >= low + table[symbol]:
            low += table[symbol]
            symbol += 1
        self.drop(low, table[symbol])
        return symbol

    def push(self, low, count):
        if self.state >= 2**40 * count:
            self.words.append(self.state % 2**32)
            self.state //= 2**32
        self.state = 2**24 * (self.state // count) + self.state % count + low

    def is_fresh(self):
        below = [supply(i) for i in range(len(self.words), 0, -1)]
        return self.state == 2**32 + supply(0) and self.words == below
