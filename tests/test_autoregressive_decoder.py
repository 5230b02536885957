"""Decoders of samples given codes: the exact upsampler, the exact decoder, and what rounding costs."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from latentpress.autoregressive.conditioner import CodeConditioner, ConditionerStructure, spread
from latentpress.autoregressive.decoder import GridDecoder, IntegerDecoder
from latentpress.autoregressive.integer.conditioner import IntegerConditioner, upsampler_integers
from latentpress.config import PixelsConfig
from latentpress.errors import CheckpointError, ConfigError

CONFIG = PixelsConfig(
    width=12, depth=2, radius=2, embedding=12, head_width=16, code_embedding=8, map_width=16, map_channels=6
)


def random_upsampler(sizes, hop, seed=0):
    torch.manual_seed(seed)
    structure = ConditionerStructure(sizes=tuple(sizes), hop=tuple(hop), embedding=4, width=12, channels=5)
    upsampler = CodeConditioner(structure)
    with torch.no_grad():
        for parameter in upsampler.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return upsampler


def random_codes(sizes, batch, grid):
    return torch.stack([torch.randint(size, (batch, *grid)) for size in sizes], -1)


def rounded(upsampler, codes, step=2.0**-6):
    steps = torch.full((upsampler.structure.channels,), step)
    return IntegerConditioner(upsampler_integers(upsampler, codes, steps))


@settings(max_examples=20)
@given(
    sizes=st.lists(st.integers(2, 9), min_size=1, max_size=3),
    hop=st.lists(st.sampled_from([1, 2, 4]), min_size=1, max_size=3),
    grid=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_the_exact_map_is_near_the_float_one_whatever_the_batch_and_the_rows(sizes, hop, grid, seed):
    upsampler = random_upsampler(sizes, hop, seed)
    size = tuple(max(1, grid * h - i) for i, h in enumerate(hop))
    codes = random_codes(sizes, 3, [-(-side // h) for side, h in zip(size, hop, strict=True)])
    exact = rounded(upsampler, codes)
    whole = exact(codes, size)
    assert whole.shape == (3, 5, *size) and whole.dtype == torch.int8
    with torch.no_grad():
        wanted = (upsampler(codes, size) * 2**6).clamp(-127, 127)
    assert (whole - wanted).abs().max() < 25 and (whole - wanted).abs().mean() < 1.5
    for item in range(3):
        assert torch.equal(exact(codes[item : item + 1], size), whole[item : item + 1])
    for start in range(size[0]):
        for stop in range(start + 1, size[0] + 1):
            assert torch.equal(exact(codes, size, (start, stop)), whole[:, :, start:stop])


def test_threads_autocast_and_pieces_do_not_matter(monkeypatch):
    upsampler = random_upsampler((9, 7), (4, 4))
    codes = random_codes((9, 7), 20, (8, 8))
    exact = rounded(upsampler, codes)
    whole, threads = exact(codes, (30, 29)), torch.get_num_threads()
    try:
        torch.set_num_threads(2 if threads == 1 else 1)
        assert torch.equal(exact(codes, (30, 29)), whole)
    finally:
        torch.set_num_threads(threads)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(exact(codes, (30, 29)), whole)
    monkeypatch.setattr("latentpress.autoregressive.integer.conditioner._CHUNK_FLOATS", 1)
    assert torch.equal(exact(codes, (30, 29)), whole)
    assert exact(codes[:0], (30, 29)).shape == (0, 5, 30, 29)


def test_codes_that_do_not_fit_are_named():
    exact = rounded(random_upsampler((9,), (4, 4)), random_codes((9,), 1, (2, 2)))
    with pytest.raises(ValueError, match="do not fit"):
        exact(random_codes((9,), 1, (2, 2)), (9, 8))


def test_spreading_puts_every_number_where_its_sample_is():
    values = torch.arange(2 * 3 * 4 * 6).view(2, 3, 4, 6)  # hop (1, 3), 2 channels
    out = spread(values, (1, 3), (3, 11))
    assert out.shape == (2, 2, 3, 11)
    for row in range(3):
        for column in range(11):
            cell = values[:, row, column // 3].view(2, 3, 2)
            assert torch.equal(out[:, :, row, column], cell[:, column % 3])


@pytest.mark.parametrize(
    "integers", [[], [2, 4, 4, 4, 1, 2, 8], [1, 4, 4, 4, 4, 2, 8], [1, 4, 4, 4, 1, 2], [1, 0, 4, 4, 1, 2, 8]]
)
def test_a_structure_that_cannot_be_is_refused(integers):
    with pytest.raises(ConfigError):
        ConditionerStructure.from_integers(integers)


def random_decoder(use_codes=True, hop=(4, 4)):
    torch.manual_seed(0)
    config = PixelsConfig(**{**vars(CONFIG), "use_codes": use_codes})
    decoder = GridDecoder(config, (256,) * 3, (16, 16), hop)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    samples = torch.randint(256, (2, 10, 7, 3))
    codes = random_codes((16, 16), 2, [-(-10 // hop[0]), -(-7 // hop[1])])
    return decoder, samples, codes


@pytest.mark.parametrize("use_codes", [True, False])
def test_tensors_restore_the_decoder(use_codes):
    decoder, samples, codes = random_decoder(use_codes)
    exact = IntegerDecoder.convert(decoder, samples, codes)
    again = IntegerDecoder.from_tensors(exact.tensors())
    assert again.id == exact.id and len(exact.id) == 16 and exact.fits(decoder) and again.fits(decoder)
    logits = exact.network.logits(samples, exact.context(codes, (10, 7)))
    found = again.network.logits(samples, again.context(codes, (10, 7)))
    assert all(torch.equal(a, b) for a, b in zip(logits, found, strict=True))
    assert not exact.fits(random_decoder(not use_codes)[0])


def test_the_id_is_that_of_all_integers():
    exact = IntegerDecoder.convert(*random_decoder())
    ids = {exact.id}
    for name, value in exact.tensors().items():
        if not name.endswith("structure"):
            changed = exact.tensors()
            first = changed[name].view(-1)[:1]
            first += -1 if int(value.view(-1)[0]) > 0 else 1
            ids.add(IntegerDecoder.from_tensors(changed).id)
    assert len(ids) == len(exact.tensors()) - 1


HOSTILE = {
    "unknown part": lambda t: t.update({"more.x": torch.zeros(1)}),
    "no network": lambda t: [t.pop(name) for name in list(t) if name.startswith("network.")],
    "no upsampler": lambda t: [t.pop(name) for name in list(t) if name.startswith("upsampler.")],
    "missing": lambda t: t.pop("upsampler.out.bias"),
    "unknown": lambda t: t.update({"upsampler.x": torch.zeros(1)}),
    "shape": lambda t: t.update({"upsampler.out.shift": t["upsampler.out.shift"][:-1]}),
    "type": lambda t: t.update({"upsampler.out.shift": t["upsampler.out.shift"].int()}),
    "embedding": lambda t: t["upsampler.embeddings.0"].fill_(-128),
    "weight": lambda t: t["upsampler.hidden.weight"][0].fill_(-128),
    "shift": lambda t: t["upsampler.hidden.shift"].fill_(17),
    "bias": lambda t: t["upsampler.hidden.bias"].fill_(2**31 - 1),
    "structure": lambda t: t.pop("upsampler.structure"),
    "float structure": lambda t: t.update({"upsampler.structure": t["upsampler.structure"].double()}),
    "long structure": lambda t: t.update({"upsampler.structure": torch.ones(10**6, dtype=torch.int64)}),
    "huge hop": lambda t: t["upsampler.structure"][5].fill_(2**40),
    "huge map": lambda t: t["upsampler.structure"][5:7].fill_(2**15),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_tensors_are_refused(what):
    tensors = IntegerDecoder.convert(*random_decoder()).tensors()
    HOSTILE[what](tensors)
    with pytest.raises(CheckpointError):
        IntegerDecoder.from_tensors(tensors)


def test_the_network_starts_from_uniform_samples_and_ordered_values():
    decoder, samples, codes = random_decoder()
    fresh = GridDecoder(CONFIG, (256,) * 3, (16, 16), (4, 4))
    with torch.no_grad():
        bits = fresh.nll_nats(samples, codes) / math.log(2) / samples[0].numel()
    assert torch.allclose(bits, torch.full((2,), 8.0))
    table = fresh.network.embeddings[0].weight
    one, far = (table[0] - table[255]).norm(), (table[0] - table[128]).norm()  # -1 and -128 beside 0
    assert one < far / 2 and decoder.upsampler is not None


def test_a_trained_decoder_loses_almost_nothing_and_uses_its_codes():
    """Each item is a ramp whose start and slope only the codes tell at once."""
    torch.manual_seed(0)
    starts, slopes = torch.randint(16, (160, 1, 1)), torch.randint(4, (160, 1, 1))
    columns = torch.arange(8).view(1, 1, -1).expand(160, 8, -1)
    values = 10 * starts + slopes * columns + torch.randint(3, (160, 8, 8))
    samples = torch.stack([values, values + torch.randint(2, values.shape)], -1)
    codes = torch.cat([starts, slopes], -1)[:, None].expand(160, 2, 2, 2)
    decoder = GridDecoder(CONFIG, (256, 256), (16, 16), (4, 4))
    optimizer = torch.optim.AdamW(decoder.parameters(), 1e-2)
    for _ in range(120):
        optimizer.zero_grad()
        part = torch.randint(128, (16,))
        decoder.nll_nats(samples[part], codes[part]).mean().backward()
        optimizer.step()
    held_out, known = samples[128:], codes[128:]
    with torch.no_grad():
        nats = decoder.nll_nats(held_out, known).sum().item()
        shuffled = decoder.nll_nats(held_out, known.roll(1, 0)).sum().item()
    assert nats < 0.5 * held_out.numel() * math.log(256) and nats < 0.9 * shuffled
    exact = IntegerDecoder.convert(decoder, samples[:32], codes[:32])
    logits = exact.network.logits(held_out, exact.context(known, (8, 8)))
    coded = sum(
        F.cross_entropy(
            member.flatten(0, -2).double() * math.log(2) / 32, symbol.flatten(), reduction="sum"
        ).item()
        for member, symbol in zip(logits, held_out.unbind(-1), strict=True)
    )
    assert coded / nats < 1.01
