"""Counted contexts of pictures: what is coded comes back, alike everywhere, and costs what it is said to."""

import hashlib
import lzma
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from numpy.typing import NDArray

from latentpress.counted import CountedDecoder, CountedPictures
from latentpress.counted.pictures.packing import pack, unpack
from latentpress.counted.pictures.prediction import blend, learn_moments, look
from latentpress.counted.pictures.regression import solve
from latentpress.counted.pictures.state import Learned, Picture, Scratch
from latentpress.counted.pictures.tables import BITS_FROM, BUCKETS, MARGIN, NODES, SIGNED, SIGNED_FEW, UNARY
from latentpress.errors import CheckpointError
from latentpress.exact.distribution import Sampling, Stream

Samples = NDArray[np.uint8]
SIZES = st.tuples(st.integers(1, 9), st.integers(1, 20))


def noise(size: tuple[int, int], channels: int, seed: int) -> Samples:
    return np.random.default_rng(seed).integers(0, 256, (*size, channels), np.uint8)


def smooth(size: tuple[int, int], channels: int, seed: int) -> Samples:
    """A slope and waves, the channels alike but for their height, and a little noise."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    angle, length = random.uniform(0, 6), random.uniform(5, 12)
    wave = 40 * np.sin((x * np.cos(angle) + y * np.sin(angle)) / length)
    planes = [wave + 100 + 20 * channel + x + random.normal(0, 1.5, size) for channel in range(channels)]
    return np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)


def primed(pictures: list[Samples], channels: int) -> CountedPictures:
    total = sum(picture.size for picture in pictures)
    return CountedPictures.primed_by(pictures, channels, total, lambda _: None)


def stream(*lanes: Samples) -> Stream:
    size, channels = lanes[0].shape[:2], lanes[0].shape[2]
    symbols = np.stack([lane.reshape(-1, channels) for lane in lanes], axis=1)
    return Stream(size, len(lanes), symbols=symbols.astype(np.int64))


def asked(stream: Stream, payload: bytes) -> Stream:
    return Stream(stream.grid, stream.lanes, payload=payload)


def cost(counted: CountedPictures, picture: Samples) -> float:
    [(_, bits)] = counted.encode([stream(picture)])
    return float(bits.sum()) / picture.size


@pytest.fixture(scope="module")
def colour() -> CountedPictures:
    return primed([smooth((24, 40), 3, seed) for seed in range(6)], 3)


@pytest.fixture(scope="module")
def grey() -> CountedPictures:
    return primed([smooth((24, 40), 1, seed) for seed in range(6)], 1)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_pictures_come_back(colour, grey, data):
    counted, channels = (colour, 3) if data.draw(st.booleans()) else (grey, 1)
    kind = data.draw(st.sampled_from([noise, smooth]))
    sizes = data.draw(st.lists(SIZES, min_size=1, max_size=3))
    streams = [stream(kind(size, channels, seed)) for seed, size in enumerate(sizes)]
    coded = counted.encode(streams)
    back = counted.decode([asked(each, payload) for each, (payload, _) in zip(streams, coded, strict=True)])
    for each, symbols, (payload, bits) in zip(streams, back, coded, strict=True):
        assert np.array_equal(symbols, each.symbols)
        assert bits.sum() <= 8 * len(payload) <= bits.sum() + 64 + 2**-16 * each.symbols.size


@pytest.mark.parametrize("values", [(0,), (255,), (0, 255), (254, 255), (0, 1), (127, 128), (7, 200)])
def test_samples_at_the_ends_of_their_range_come_back(colour, values):
    picture = np.random.default_rng(0).choice(np.array(values, np.uint8), (13, 17, 3))
    [(payload, bits)] = colour.encode([stream(picture)])
    [back] = colour.decode([asked(stream(picture), payload)])
    assert np.array_equal(back.reshape(picture.shape), picture)
    assert len(values) > 1 or bits.sum() / picture.size < 0.5


def test_a_picture_does_not_depend_on_those_beside_it(colour):
    pictures = [smooth((16, 20), 3, 20), noise((16, 20), 3, 21), smooth((16, 20), 3, 22)]
    alone = [colour.encode([stream(picture)])[0] for picture in pictures]
    before = torch.get_num_threads()
    for threads in (1, 3):
        torch.set_num_threads(threads)
        try:
            together = colour.encode([stream(picture) for picture in pictures])
            assert [payload for payload, _ in together] == [payload for payload, _ in alone]
            [(payload, bits)] = colour.encode([stream(*pictures)])
            assert np.allclose(bits, [float(each.sum()) for _, each in alone])
            [back] = colour.decode([asked(stream(*pictures), payload)])
            assert np.array_equal(back, stream(*pictures).symbols)
        finally:
            torch.set_num_threads(before)


def test_the_state_goes_back_to_what_training_taught(colour):
    [(first, _)] = colour.encode([stream(smooth((16, 20), 3, 5))])
    colour.encode([stream(noise((30, 20), 3, 6))])
    colour.sample(1, (4, 5), Sampling(seed=3))
    assert colour.encode([stream(smooth((16, 20), 3, 5))])[0][0] == first
    fresh = unpack(colour.tensors()["learned"].numpy().tobytes(), 3)
    for lane in colour._idle:
        for mine, wanted in zip(lane._learned, fresh, strict=True):
            assert np.array_equal(mine, wanted)


def test_what_resembles_the_training_pictures_costs_less(colour):
    empty, picture = primed([], 3), smooth((24, 40), 3, 50)
    assert cost(colour, picture) < 0.9 * cost(empty, picture) < 0.9 * 8
    assert cost(colour, noise((24, 40), 3, 1)) < 11


def test_it_learns_within_a_picture(colour):
    row = noise((1, 200), 3, 3)
    assert cost(colour, np.repeat(row, 24, axis=0)) < 0.4 * cost(colour, row)


def test_channels_that_are_alike_cost_once(colour):
    one = smooth((24, 40), 1, 60)
    assert cost(colour, np.repeat(one, 3, axis=2)) < 0.6 * cost(colour, noise((24, 40), 3, 2))


def test_the_arithmetic_is_that_of_the_format():
    """Other numbers here mean that models and archives that are there can no longer be read."""
    y, x = np.mgrid[:40, :50]
    picture = np.stack([x * 3 + y, (x * y) // 9, (x * x + y * 7) // 11 + (x ^ y) % 5], -1) % 256
    learned = [(picture[::-1] + 3 * k).astype(np.uint8) for k in range(3)]
    found = []
    for channels in (3, 1):
        counted = primed([np.ascontiguousarray(each[..., :channels]) for each in learned], channels)
        [(payload, _)] = counted.encode([stream(picture[..., :channels].astype(np.uint8))])
        state = hashlib.blake2b(digest_size=8)
        for part in unpack(counted.tensors()["learned"].numpy().tobytes(), channels):
            state.update(part.tobytes())
        found += [hashlib.blake2b(payload, digest_size=8).hexdigest(), state.hexdigest()]
    assert found == ["0d22e52ef114daeb", "2430765bb9edbd08", "c41365110d89e5ef", "b7911dd36014bc79"]


def test_tensors_are_the_whole_of_it(colour, grey):
    for counted, channels in ((colour, 3), (grey, 1)):
        again, picture = CountedPictures.from_tensors(counted.tensors()), smooth((9, 30), channels, 9)
        assert again.id == counted.id and again.alphabets == counted.alphabets == (256,) * channels
        assert again.encode([stream(picture)])[0][0] == counted.encode([stream(picture)])[0][0]
        decoder = CountedDecoder.from_tensors(CountedDecoder(counted).tensors())
        assert decoder.id == counted.id and not decoder.holds_training_items
    assert colour.id != grey.id


def test_what_was_packed_packs_to_the_same(colour):
    packed = colour.tensors()["learned"].numpy().tobytes()
    again = unpack(pack(unpack(packed, 3)), 3)
    for one, other in zip(unpack(packed, 3), again, strict=True):
        assert np.array_equal(one, other)
    assert len(packed) < 400_000, "counters that were not touched cost next to nothing"


@pytest.mark.parametrize(
    "change",
    [
        {"version": torch.tensor(2)},
        {"version": torch.tensor(1, dtype=torch.int32)},
        {"planes": torch.tensor(2)},
        {"planes": torch.tensor(1 << 40)},
        {"learned": torch.zeros(3)},
        {"more": torch.tensor(1)},
        {"learned": None},
    ],
)
def test_other_tensors_are_refused(colour, change):
    tensors = {**colour.tensors(), **change}
    with pytest.raises(CheckpointError, match="counted decoder"):
        CountedPictures.from_tensors({name: value for name, value in tensors.items() if value is not None})


def test_damaged_counters_are_refused_or_other_counters(colour):
    packed = colour.tensors()["learned"].numpy().tobytes()
    random = np.random.default_rng(0)
    damaged = [packed[: len(packed) // 2], b"", packed + b"x", packed[:-1], unpacked_to_more()]
    for _ in range(20):
        place = int(random.integers(len(packed)))
        damaged.append(
            packed[:place] + bytes([packed[place] ^ int(random.integers(1, 256))]) + packed[place + 1 :]
        )
    refused = 0
    for each in damaged:
        counted = CountedPictures(3, each)
        assert counted.id != colour.id
        try:
            [(payload, _)] = counted.encode([stream(noise((5, 6), 3, 0))])
        except CheckpointError as error:
            assert "counted" in str(error)
            refused += 1
        else:
            [back] = counted.decode([asked(stream(noise((5, 6), 3, 0)), payload)])
            assert np.array_equal(back, stream(noise((5, 6), 3, 0)).symbols)
    assert refused >= 5


def unpacked_to_more() -> bytes:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6}]
    return lzma.compress(bytes(1 << 26), lzma.FORMAT_RAW, filters=filters)


@pytest.mark.parametrize("seed", range(3))
def test_any_state_codes_any_picture(seed):
    """What a forged model can hold: no number of it makes coding fail, or differ from decoding."""
    random, fresh = np.random.default_rng(seed), Learned.fresh(3)
    wild = Learned(
        random.integers(0, 1 << 22, fresh.counters.shape).astype(np.uint32) << 10,
        random.integers(-32767, 32768, fresh.weights.shape).astype(np.int32) << 5,
        random.integers(-(1 << 31), 1 << 31, fresh.last.shape).astype(np.int32),
        random.integers(0, 1 << 16, fresh.curves.shape).astype(np.uint16),
        random.choice(np.array([0, -1e12, 1e12, 8e12, -3.0]), fresh.moments.shape),
    )
    counted = CountedPictures(3, pack(wild))
    for picture in (noise((9, 12), 3, seed), smooth((9, 12), 3, seed)):
        [(payload, _)] = counted.encode([stream(picture)])
        [back] = counted.decode([asked(stream(picture), payload)])
        assert np.array_equal(back, stream(picture).symbols)


@settings(max_examples=30, deadline=None)
@given(payload=st.binary(max_size=80), size=SIZES)
def test_any_payload_is_a_picture_or_called_damaged(colour, payload, size):
    [symbols] = colour.decode([Stream(size, 1, payload=payload)])
    positions = size[0] * size[1]
    assert symbols is None or (
        symbols.shape == (positions, 1, 3) and 0 <= symbols.min() <= symbols.max() < 256
    )
    assert len(payload) % 4 == 0 or symbols is None


def test_pictures_are_drawn_the_same_every_time(colour):
    together = colour.sample(3, (6, 7), Sampling(seed=7))
    assert together.shape == (3, 6, 7, 3) and together.dtype == torch.int64
    assert torch.equal(colour.sample(1, (6, 7), Sampling(seed=7), numbers=[2])[0], together[2])
    assert not torch.equal(together[0], together[1])
    prefix, done = together[:1].flatten(1, 2)[:, :14], []
    continued = colour.sample(1, (6, 7), Sampling(seed=9), prefix=prefix, progress=done.append)
    assert torch.equal(continued[:, :2], together[:1, :2]) and sum(done) == 3 * 42


def test_what_is_drawn_has_the_probabilities_that_coding_gives(grey):
    costs = [cost(grey, np.full((1, 1, 1), value, np.uint8)) for value in range(256)]
    wanted = 2.0 ** -np.array(costs)
    assert 1 - 1e-5 < wanted.sum() <= 1 + 1e-9, "what is left is of values beyond 255"
    first = grey.sample(1500, (1, 1), Sampling(seed=1)).flatten().numpy()
    values = np.arange(256)
    mean, spread = (wanted * values).sum(), np.sqrt((wanted * values**2).sum() - (wanted * values).sum() ** 2)
    assert abs(first.mean() - mean) < 4 * spread / np.sqrt(1500)
    assert first.std() == pytest.approx(spread, rel=0.15)
    likeliest = grey.sample(1, (1, 1), Sampling(top_k=1)).item()
    assert wanted[likeliest] > 0.97 * wanted.max()


def test_every_residual_has_a_path_of_nodes_of_its_own():
    assert [int(BUCKETS[size]) for size in (1, 2, 3, 4, 5, 8, 9, 255)] == [0, 1, 2, 2, 3, 3, 4, 8]
    used = {0, 1} | {int(UNARY[sign]) + bucket for sign in range(2) for bucket in range(8)}
    for sign in range(2):
        for bucket in range(2, 9):
            nodes = {int(BITS_FROM[sign, bucket]) + k for k in range(1 if bucket == 2 else bucket)}
            assert not nodes & used and max(nodes) < NODES
            used |= nodes
    assert (np.diff(SIGNED) >= 0).all() and (SIGNED.min(), SIGNED.max(), SIGNED[4096]) == (0, 20, 10)
    assert (np.diff(SIGNED_FEW) >= 0).all() and (SIGNED_FEW.min(), SIGNED_FEW.max()) == (0, 8)


def test_four_regressions_are_those_of_numpy():

    @njit(error_model="numpy")
    def solved(matrix, inputs, short, scratch):
        solve(matrix, inputs, short, scratch.column, scratch.inverses, scratch.rules)

    random, inputs, short = np.random.default_rng(0), 22, 13
    squares = [(rows := random.normal(size=(60, inputs + 1))).T @ rows for _ in range(4)]
    matrix = np.stack([square[np.tril_indices(inputs + 1)] for square in squares], -1).ravel()
    scratch = Scratch.fresh()
    solved(matrix.copy(), inputs, short, scratch)
    rules = scratch.rules.reshape(-1, 4)[:inputs]
    for lane, square in enumerate(squares):
        count = short if lane == 2 else inputs
        ridge = square[:count, :count] + 1e-3 * np.eye(count)
        assert np.allclose(
            rules[:count, lane], np.linalg.solve(ridge, square[-1, :count]), rtol=1e-6, atol=1e-6
        )
        assert np.allclose(rules[count:, lane], 0, atol=1e-6)


def test_no_product_is_fused_with_a_sum():
    """A fused operation rounds once instead of twice: another machine would come to other numbers."""

    @njit(error_model="numpy")
    def foretold(plane, learned, picture, scratch):
        look(plane, MARGIN, MARGIN, learned, picture, scratch)
        blend(MARGIN, MARGIN, picture, scratch)
        learn_moments(plane, MARGIN, MARGIN, True, 7, picture, scratch)

    foretold(0, Learned.fresh(1), Picture.fresh(1, 2, 2), Scratch.fresh())
    code = "".join(foretold.inspect_asm().values())
    assert "mul" in code and not re.search("v?fn?m(add|sub)", code)


def test_symbols_are_of_8_bits(colour):
    for symbol in (-1, 256):
        with pytest.raises(ValueError, match="8 bits"):
            colour.encode([Stream((1, 1), 1, symbols=np.full((1, 1, 3), symbol))])


def test_progress_counts_every_sample_and_may_stop_it():
    done, pictures = list[int](), [smooth((8, 9), 3, seed) for seed in range(3)]
    CountedPictures.primed_by(pictures, 3, 3 * 216, done.append)
    assert sum(done) == 3 * 216

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        CountedPictures.primed_by(pictures, 3, 648, stop)
