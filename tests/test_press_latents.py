"""Blocks of a delta-VAE's codes: their prior is the auxiliary one, in the same streams and archives."""

import io
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from latentpress.autoregressive.streams import Stream
from latentpress.coding import Archive, Mode, Part
from latentpress.coding.layout import BlockLayout, Segment
from latentpress.errors import ArchiveError
from latentpress.latents import IntegerLSTM
from latentpress.press import compress, decode_archive
from latentpress.press.blocks import BlockEncoder, decode_lanes, encode_lanes
from test_latents_exact_auxiliary import fixed
from text_parts import TextCodec, byte_decoder, source, texts


def codes_of(exact, lanes, steps, seed):
    return np.ascontiguousarray(exact.sample(lanes, steps, seed).numpy().swapaxes(0, 1))


@pytest.mark.parametrize("columns", [(1,), ()])
def test_streams_of_any_lengths_come_back(columns):
    exact = fixed()
    parts = [codes_of(exact, lanes, steps, lanes) for lanes, steps in [(1, 4), (3, 9), (2, 4)]]
    given = [Stream((len(own), *columns), own.shape[1], symbols=own) for own in parts]
    coded = encode_lanes(exact, given)
    taken = [
        Stream(stream.grid, stream.lanes, payload=payload)
        for stream, (payload, _) in zip(given, coded, strict=True)
    ]
    found = decode_lanes(exact, taken)
    assert all(np.array_equal(*both) for both in zip(found, parts, strict=True))
    for own, (payload, bits) in zip(parts, coded, strict=True):
        assert payload == exact.encode(own)[0] and bits.shape == own.shape[1:2]


def test_a_damaged_stream_is_one_error():
    with pytest.raises(ArchiveError):
        decode_lanes(fixed(), [Stream((4,), 1, payload=b"12345")])


def test_the_prior_is_the_mode_of_what_it_expects():
    exact = fixed()
    block = BlockLayout((12, 1), tuple(Segment(i, 0, 12) for i in range(4)))
    symbols = codes_of(exact, 4, 12, seed=0)
    ((found, bits),) = BlockEncoder(exact.sizes, exact).encode([symbols], [block], [None] * 4)
    assert found.mode is Mode.PRIOR and bits.sum() <= 8 * len(found.payload) <= bits.sum() + 64


@dataclass
class DrawnCodec(TextCodec):
    """Its codes are the prior's own draws: a text's sum is the seed."""

    def encode(self, symbols):
        steps = -(-symbols.shape[1] // self.hop[0])
        drawn = [self.exact_prior.sample(1, steps, int(own.astype(np.int64).sum())) for own in symbols]
        return torch.cat(drawn)


def test_archives_with_such_codes_come_back():
    prior = IntegerLSTM.ar1((0.9,), 18)
    model, files = DrawnCodec(prior, byte_decoder(True), prior.sizes), texts()
    out = io.BytesIO()
    compress(model, source(files), out)
    archive = Archive(io.BytesIO(out.getvalue()))
    modes = [
        mode for block, mode in zip(archive.layout, archive.modes, strict=True) if block.part is Part.CODES
    ]
    assert Mode.PRIOR in modes and archive.header.prior_id == prior.id
    restored = {name: symbols.tobytes() for name, symbols in decode_archive(out.getvalue(), model)}
    assert restored == files
