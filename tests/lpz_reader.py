"""A reader of .lpz archives made from docs/archive.md alone: it shares no code with the package."""

import hashlib
import io
import itertools
import lzma
import math
import zlib

import cbor2
import PIL.Image

from lpz_coders import RangeDecoder, Stack, normalize
from lpz_index import column, items_of, layout_of

# Kinds


class Images:
    @staticmethod
    def samples(residuals, extents):
        planes, width = [list(plane) for plane in zip(*residuals, strict=True)], extents[1]
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

    @staticmethod
    def unpack(payload, extents, channels):
        height, width = extents
        assert payload[0] == 0x2F
        assert int.from_bytes(payload[1:5], "little") == (height - 1) << 14 | width - 1
        body = b"WEBPVP8L" + len(payload).to_bytes(4, "little") + payload + b"\0" * (len(payload) % 2)
        file = io.BytesIO(b"RIFF" + len(body).to_bytes(4, "little") + body)
        with PIL.Image.open(file, formats=["WEBP"]) as image:
            samples = image.convert("RGB").tobytes()
        return [tuple(samples[3 * i : 3 * i + channels]) for i in range(height * width)]

    @staticmethod
    def unpack_file(payload):
        import pillow_jxl

        return pillow_jxl.Decoder()(payload)[2]


class Texts:
    @staticmethod
    def samples(residuals, extents):
        return [(byte % 256,) for byte in itertools.accumulate(byte for (byte,) in residuals)]

    @staticmethod
    def unpack(payload, extents, channels):
        filters = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 23, "lc": 3, "lp": 0, "pb": 0}]
        data = lzma.decompress(payload, format=lzma.FORMAT_RAW, filters=filters)
        assert len(data) == extents[0]
        return [(byte,) for byte in data]


KINDS = {"image": Images, "text": Texts}


# The archive


class Reader:
    """Reads an archive; `items` are its `Item`s, and what it gives are {name: P-tuples in raster order}.

    What the model computes is handed in. A *network* has `tables()`, one of each lane's next symbol, and
    `push(symbols)`, one a lane:

        prior(shape, lanes)                 for codes; lanes are (item, first row, last row + 1)
        decoder(shape, lanes, codes)        for samples, given {item: its codes}
        latents(width)                      for chains: `step`, the prior's usual one, `tables(step)` of the
                                            next row of latents [place][channel], and `push(row)` of integers
        band_decoder(extents, latents)      for a band of a chain, of one lane, given rows of latents
        posterior(symbols, extents)         tables [row][place][channel] of step 1 for a band

    `kinds` adds to KINDS: `samples(residuals, extents)` and `unpack(payload, extents, channels)`, both of
    which return symbols, and `unpack_file(payload)`, which returns bytes.
    """

    def __init__(self, data, kinds=None):
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
        self.kind = {**KINDS, **(kinds or {})}.get(self.head["kind"])
        self.items = items_of(self.head, self.index)
        self.layout = layout_of(self.head, self.items)
        self.tables = []
        if b"TABL" in sections:
            counts = column(zlib.decompress(sections[b"TABL"]))
            for size in self.head["code_alphabets"]:
                self.tables.append(normalize(counts[:size]))
                counts = counts[size:]
        self.payloads, file = [], io.BytesIO(sections[b"DATA"])
        lengths, crcs = column(self.index["lengths"], 8), column(self.index["payload_crcs"])
        for length, crc in zip(lengths, crcs, strict=True):
            self.payloads.append(file.read(length))
            assert zlib.crc32(self.payloads[-1]) == crc
        assert len(self.payloads) == len(self.layout) and not file.read()
        self.crcs = column(self.index["symbols_crcs"])

    def codes(self, prior=None):
        return self._named(self._codes(prior))

    def symbols(self, prior=None, decoder=None, latents=None, band_decoder=None, posterior=None):
        """Symbols of samples, never residuals; of a lossy archive those of the fallback codec alone."""
        found = {}
        if self.head["content"] == "samples":
            codes = self._codes(prior)
            found = self._join("samples", lambda shape, lanes: decoder(shape, lanes, codes))
            if self.head["residual"]:
                found = {i: self.kind.samples(own, self.items[i].extents) for i, own in found.items()}
        if self.head["content"] == "chains":
            found = self._chains(latents, band_decoder, posterior)
        return self._named(found | self._join("fallback", None))

    def files(self):
        """The bytes of the files that items are stored as."""
        found = self._join("file", None) | {i: [] for i, item in enumerate(self.items) if item.file == 0}
        return {name: bytes(byte for (byte,) in own) for name, own in self._named(found, files=True).items()}

    def _named(self, found, files=False):
        named = {}
        for i, item in enumerate(self.items):
            original = i if item.original is None else item.original
            if original in found or not (item.extents[0] or files or self.items[original].file is not None):
                named[item.name] = found.get(original, [])
        return named

    def _codes(self, prior):
        return self._join("codes", prior)

    def _join(self, what, network):
        items = {}
        for number, (own, shape, lanes) in enumerate(self.layout):
            if own != what:
                continue
            symbols = self._block(number, what, shape, lanes, network)  # [t][lane][p]
            self._check(number, (s for row in symbols for lane in row for s in lane))
            for index, (item, first, _) in enumerate(lanes):
                items.setdefault(item, {})[first] = [tuple(row[index]) for row in symbols]
        return {i: [t for _, band in sorted(bands.items()) for t in band] for i, bands in items.items()}

    def _check(self, number, symbols):
        assert zlib.crc32(b"".join(symbol.to_bytes(2, "little") for symbol in symbols)) == self.crcs[number]

    def _block(self, number, what, shape, lanes, network):
        positions, payload, count = math.prod(shape), self.payloads[number], len(lanes)
        sizes = self.head["code_alphabets" if what == "codes" else "sample_alphabets"]
        sizes = [256] if what == "file" else sizes
        symbols = [[[0] * len(sizes) for _ in range(count)] for _ in range(positions)]
        mode = self.index["modes"][number]
        assert mode in {"codes": {0, 1, 2, 3}, "samples": {4}, "fallback": {0, 5}, "file": {0, 5}}[what]
        if mode in (3, 4):
            state, coder = network(shape, lanes), RangeDecoder(payload)
            for row in symbols:
                for p in range(len(sizes)):
                    for lane, table in zip(row, state.tables(), strict=True):
                        lane[p] = coder.decode(table)
                    state.push([lane[p] for lane in row])
            return symbols
        if mode == 5 and what == "file":
            return [[[byte]] for byte in self.kind.unpack_file(payload)]
        if mode == 5:
            return [[list(s)] for s in self.kind.unpack(payload, shape, self.head["channels"])]
        read = {0: self._raw, 1: self._static, 2: self._adaptive}[mode](payload, positions * count, sizes)
        for p in range(len(sizes)):
            for i, symbol in enumerate(next(read)):
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

    def _chains(self, latents, band_decoder, posterior):
        found = {}
        for number, (what, shape, bands) in enumerate(self.layout):
            if what != "chain":
                continue
            assert self.index["modes"][number] == 6
            stack, coded = Stack(self.payloads[number]), []
            for item, first, last in bands:
                extents, final = (last - first, *shape[1:]), (item, first, last) == bands[-1]
                symbols, samples = self._band(stack, extents, final, latents, band_decoder, posterior)
                coded += symbols
                found.setdefault(item, {})[first] = samples
            assert stack.is_fresh()
            self._check(number, (s for position in coded for s in position))
        return {i: [t for _, band in sorted(bands.items()) for t in band] for i, bands in found.items()}

    def _band(self, stack, extents, final, latents, band_decoder, posterior):
        grid = [math.ceil(e / h) for e, h in zip(extents, self.head["hop"], strict=True)]
        prior, rows, symbols = latents(tuple(grid[1:])), [], []
        step = prior.step if final else 1
        for _ in range(grid[0]):
            pops = [[(stack.pop(t), len(t) // 2) for t in tables] for tables in prior.tables(step)]
            rows.append([[(symbol - half) * step for symbol, half in place] for place in pops])
            prior.push(rows[-1])
        state = band_decoder(extents, rows)
        for _ in range(math.prod(extents)):
            symbols.append([])
            for _ in self.head["sample_alphabets"]:
                [table] = state.tables()
                symbols[-1].append(stack.pop(table))
                state.push(symbols[-1][-1:])
        symbols = [tuple(position) for position in symbols]
        samples = self.kind.samples(symbols, extents) if self.head["residual"] else symbols
        if not final:
            given = posterior(samples, extents)
            for row, places in zip(reversed(rows), reversed(given), strict=True):
                for place, tables in zip(reversed(row), reversed(places), strict=True):
                    for q, table in zip(reversed(place), reversed(tables), strict=True):
                        stack.push(sum(table[: q + 127]), table[q + 127])
        return symbols, samples
