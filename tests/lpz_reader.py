"""A reader of .lpz archives made from docs/archive.md alone: it shares no code with the package."""

import hashlib
import io
import itertools
import lzma
import math
import zlib

import cbor2
from PIL import Image

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

    def drop(self, low, size):
        self.state = size * (self.state // 2**24) + self.point() - low
        if self.state < 2**32:
            self.state = 2**32 * self.state + self.words.pop()

    def pop(self, table):
        low = symbol = 0
        while self.point() >= low + table[symbol]:
            low += table[symbol]
            symbol += 1
        self.drop(low, table[symbol])
        return symbol

    def push(self, low, size):
        if self.state >= 2**40 * size:
            self.words.append(self.state % 2**32)
            self.state //= 2**32
        self.state = 2**24 * (self.state // size) + self.state % size + low

    def is_fresh(self):
        under = [supply(i) for i in range(len(self.words), 0, -1)]
        return self.state == 2**32 + supply(0) and self.words == under


def column(data):
    n = len(data) // 4
    return [sum(data[plane * n + i] << 8 * plane for plane in range(4)) for i in range(n)]


def move_on(name, step):
    folder, slash, last = name.rpartition("/")
    stem, dot, suffix = last.rpartition(".") if "." in last else (last, "", "")
    stem = folder + slash + stem
    end = max(i for i, char in enumerate(stem) if char in "0123456789") + 1
    start = end
    while start and stem[start - 1] in "0123456789" and end - start < 18:
        start -= 1
    number = str(int(stem[start:end]) + step).zfill(end - start)
    return stem[:start] + number + stem[end:] + dot + suffix


def names_of(index):
    endings = iter(index["endings"].decode().split("\0"))
    shared = iter(column(index["shared"]))
    name, names = "", []
    for step in column(index["steps"]):
        name = move_on(name, step) if step else name[: next(shared)] + next(endings)
        names.append(name)
    return names


def blocks_of(grids, members, segment=4096, block=4096, whole=()):
    """Returns [(shape, [(item, first row, last row + 1), ...]), ...]."""
    closed, still_open = [], {}
    for item, grid in enumerate(grids):
        rows, row = grid[0], math.prod(grid[1:])
        if rows == 0:
            continue
        height = rows
        if rows * row > segment:
            if item in whole:
                continue
            height = math.ceil(rows / math.ceil(rows / max(1, segment // row)))
        for first in range(0, rows, height):
            last = min(rows, first + height)
            shape = (last - first, *grid[1:])
            lanes = still_open.setdefault(shape, [])
            lanes.append((item, first, last))
            if len(lanes) * math.prod(shape) * members >= block:
                closed.append((shape, still_open.pop(shape)))
    blocks = closed + list(still_open.items())
    kept = [(shape, [lane for lane in lanes if lane[0] not in whole]) for shape, lanes in blocks]
    return [(shape, lanes) for shape, lanes in kept if lanes]


def chains_of(shapes, segment, whole=()):
    closed, still_open = [], {}
    for item, shape in enumerate(shapes):
        if math.prod(shape) > segment and item in whole:
            continue
        for rows, [(_, first, last)] in blocks_of([shape], 1, segment, 1):
            bands = still_open.setdefault(shape[1:], [])
            bands.append((item, first, last))
            if sum(last - first for _, first, last in bands) * math.prod(rows[1:]) >= 1 << 18:
                closed.append((shape[1:], still_open.pop(shape[1:])))
    chains = []
    for width, bands in closed + list(still_open.items()):
        kept = sorted((band for band in bands if band[0] not in whole), key=lambda band: band[2] - band[1])
        if kept:
            chains.append(((sum(last - first for _, first, last in kept), *width), kept))
    return chains


def pixels_of(symbols, width):
    planes = [list(plane) for plane in zip(*symbols, strict=True)]
    for plane in planes:
        for i in range(len(plane)):
            left = plane[i - 1] if i % width else 0
            above = plane[i - width] if i >= width else 0
            corner = plane[i - width - 1] if i % width and i >= width else 0
            plane[i] = (plane[i] + left + above - corner) % 256
    if len(planes) == 3:
        g, r, b = planes
        planes = [[(x + y) % 256 for x, y in zip(r, g, strict=True)], g]
        planes.append([(x + y) % 256 for x, y in zip(b, g, strict=True)])
    return list(zip(*planes, strict=True))


class Reader:
    """`codes(prior)` gives {name: list of P-tuples in raster order}.

    `prior(shape, lanes)` returns an object with `logits()`, one row a lane, and `push(symbols)`.
    `pixels(prior, network)` gives the pixels of a lossless archive in the same form, and
    `network(shape, bands)` such an object for the bands [(codes of the item, its extents, first row)].
    `chains(prior, network, posterior)` gives those of an archive by bits back: `prior()` has
    `step`, its own, `tables(step)` of the next latents at some step, and `push(integers)`;
    `network(shape, integers)` has `logits()`, one row, and `push(symbols)`; `posterior(samples, shape)`
    gives tables of step 1 for each channel of each step.
    """

    def __init__(self, data):
        assert data[:9] == b"\x89LPZ\r\n\x1a\n\x01" and data[-4:] == b"LPZ\n"
        digest = hashlib.blake2b(data[:9], digest_size=16)
        sections, file = {}, io.BytesIO(data[:-20])
        file.seek(9)
        while tag := file.read(4):
            length = file.read(8)
            sections[tag] = file.read(int.from_bytes(length, "little"))
            digest.update(tag + length + (b"" if tag == b"DATA" else sections[tag]))
        assert digest.digest() == data[-20:-4]
        self.head = cbor2.loads(sections[b"HEAD"])
        self.index = cbor2.loads(zlib.decompress(sections[b"INDX"]))
        self.sizes = self.head["sizes"]
        self.names = names_of(self.index)
        self.shapes = list(zip(*map(column, self.index["shape"]), strict=True))
        self.grids = [
            tuple(math.ceil(e / h) for e, h in zip(s, self.head["hop"], strict=True)) for s in self.shapes
        ]
        self.whole = {i for i, flag in enumerate(self.index.get("whole", b"")) if flag}
        self.layout = blocks_of(self.grids, len(self.sizes), whole=self.whole) if self.sizes else []
        self.code_blocks = len(self.layout)
        if "pixels_id" in self.head:
            segment = 1 << 14 if self.head["kind"] == "text" else 1 << 17
            if "encoder_id" in self.head:
                self.layout += chains_of(self.shapes, segment, self.whole)
            else:
                self.layout += blocks_of(self.shapes, self.head["channels"], segment, 1 << 16, self.whole)
            self.layout += [(self.shapes[i], [(i, 0, self.shapes[i][0])]) for i in sorted(self.whole)]
        self.tables = []
        if b"TABL" in sections:
            counts = column(zlib.decompress(sections[b"TABL"]))
            for size in self.sizes:
                self.tables.append(normalize(counts[:size]))
                counts = counts[size:]
        self.payloads, file = [], io.BytesIO(sections[b"DATA"])
        for length, crc in zip(
            column(self.index["lengths"]), column(self.index["payload_crcs"]), strict=True
        ):
            self.payloads.append(file.read(length))
            assert zlib.crc32(self.payloads[-1]) == crc
        assert len(self.payloads) == len(self.layout)

    def codes(self, prior=None):
        return self._join(range(self.code_blocks), self.sizes, lambda shape, lanes: prior(shape, len(lanes)))

    def pixels(self, prior=None, network=None):
        codes = self.codes(prior)
        numbers = range(self.code_blocks, len(self.layout))
        sizes = [256] * self.head["channels"]
        found = self._join(
            numbers,
            sizes,
            lambda shape, lanes: network(
                shape, [(codes[self.names[item]], self.shapes[item], first) for item, first, _ in lanes]
            ),
        )
        for item, (name, shape) in enumerate(zip(self.names, self.shapes, strict=True)):
            if item not in self.whole and self.head["differences"]:
                found[name] = pixels_of(found[name], shape[1])
        return found

    def chains(self, prior, network, posterior):
        found = {name: {} for name in self.names}
        for number, (shape, bands) in enumerate(self.layout):
            if self.index["modes"][number] != 7:
                continue
            stack, flat = Stack(self.payloads[number]), b""
            for item, first, last in bands:
                own, final = (last - first, *shape[1:]), (item, first, last) == bands[-1]
                samples = self._unchained(stack, own, final, prior(), network, posterior)
                flat += b"".join(sample.to_bytes(2, "little") for row in samples for sample in row)
                found[self.names[item]][first] = samples
            assert stack.is_fresh()
            assert zlib.crc32(flat) == column(self.index["symbols_crcs"])[number]
        return {name: [t for _, band in sorted(bands.items()) for t in band] for name, bands in found.items()}

    def _unchained(self, stack, shape, final, prior, network, posterior):
        latents, samples = [], []
        for _ in range(math.ceil(shape[0] / self.head["hop"][0])):
            step = prior.step if final else 1
            tables = prior.tables(step)
            latents.append([(stack.pop(table) - len(table) // 2) * step for table in tables])
            prior.push(latents[-1])
        state = network(shape, latents)
        for _ in range(math.prod(shape)):
            samples.append([])
            for _ in range(self.head["channels"]):
                samples[-1].append(stack.pop(table_of_logits(state.logits())))
                state.push(samples[-1][-1:])
        if not final:
            for q, tables in zip(reversed(latents), reversed(posterior(samples, shape)), strict=True):
                for value, table in zip(reversed(q), reversed(tables), strict=True):
                    symbol = value + 127
                    stack.push(sum(table[:symbol]), table[symbol])
        return [tuple(position) for position in samples]

    def _join(self, numbers, sizes, network):
        items = {name: {} for name in self.names}
        for number in numbers:
            shape, lanes = self.layout[number]
            symbols = self._block(number, shape, lanes, sizes, network)  # [t][lane][p]
            flat = b"".join(s.to_bytes(2, "little") for row in symbols for lane in row for s in lane)
            assert zlib.crc32(flat) == column(self.index["symbols_crcs"])[number]
            for index, (item, first, _) in enumerate(lanes):
                items[self.names[item]][first] = [tuple(row[index]) for row in symbols]
        return {name: [t for _, band in sorted(bands.items()) for t in band] for name, bands in items.items()}

    def _block(self, number, shape, lanes, sizes, network):
        positions, payload, count = math.prod(shape), self.payloads[number], len(lanes)
        symbols = [[[0] * len(sizes) for _ in range(count)] for _ in range(positions)]
        mode = self.index["modes"][number]
        if mode in (3, 4):
            state, coder = network(shape, lanes), RangeDecoder(payload)
            for row in symbols:
                for p in range(len(sizes)):
                    logits = state.logits()
                    for lane in range(count):
                        row[lane][p] = coder.decode(table_of_logits(logits[lane]))
                    state.push([lane[p] for lane in row])
            return symbols
        if mode == 5:
            return [[list(pixel)] for pixel in self._webp(payload, shape, len(sizes))]
        if mode == 6:
            return [[[byte]] for byte in self._lzma(payload, shape[0])]
        member = {0: self._raw, 1: self._static, 2: self._adaptive}[mode](payload, positions * count, sizes)
        for p in range(len(sizes)):
            for i, symbol in enumerate(next(member)):
                symbols[i // count][i % count][p] = symbol
        return symbols

    def _raw(self, payload, count, sizes):
        bits = "".join(f"{byte:08b}" for byte in payload)
        for size in sizes:
            width = math.ceil(math.log2(size))
            yield [int(bits[i * width : (i + 1) * width], 2) for i in range(count)]
            bits = bits[count * width :]

    def _static(self, payload, count, sizes):
        coder = RangeDecoder(payload)
        for table in self.tables:
            yield [coder.decode(table) for _ in range(count)]

    def _adaptive(self, payload, count, sizes):
        coder = RangeDecoder(payload)
        for size in sizes:
            weights, symbols = [1] * size, []
            for i in range(count):
                if i % 64 == 0:
                    table = normalize(weights)
                symbols.append(coder.decode(table))
                weights[symbols[-1]] += 4
            yield symbols

    def _lzma(self, payload, length):
        filters = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 23, "lc": 3, "lp": 0, "pb": 0}]
        data = lzma.decompress(payload, format=lzma.FORMAT_RAW, filters=filters)
        assert len(data) == length
        return data

    def _webp(self, payload, shape, channels):
        height, width = shape
        assert payload[0] == 0x2F
        assert int.from_bytes(payload[1:5], "little") == (height - 1) << 14 | width - 1
        body = b"WEBPVP8L" + len(payload).to_bytes(4, "little") + payload + b"\0" * (len(payload) % 2)
        file = io.BytesIO(b"RIFF" + len(body).to_bytes(4, "little") + body)
        with Image.open(file, formats=["WEBP"]) as image:
            samples = image.convert("RGB").tobytes()
        return [tuple(samples[3 * i : 3 * i + channels]) for i in range(height * width)]
