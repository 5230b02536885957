"""Counted contexts of grids: what is coded comes back, alone and beside a network, at its stated cost."""

import hashlib
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from latentpress.autoregressive import IntegerNetwork
from latentpress.counted import CountedGrid
from latentpress.counted.grids import packing
from latentpress.counted.grids.coding import hashed_labels
from latentpress.counted.grids.order import alike
from latentpress.counted.grids.pieces import Piece
from latentpress.counted.grids.state import Form, Learned
from latentpress.errors import CheckpointError
from latentpress.exact.distribution import Conditioning, Sampling, Stream
from small.networks import random_network

Codes = NDArray[np.int32]


@pytest.fixture(autouse=True, scope="module")
def cache_folder(tmp_path_factory: pytest.TempPathFactory):
    """A cache folder of these tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def blocks(grid: tuple[int, ...], lanes: int, alphabets: tuple[int, ...], seed: int) -> Codes:
    """Symbols that stay as they are for some positions; components follow the one before them. By lane."""
    random, count = np.random.default_rng(seed), int(np.prod(grid))
    symbols = np.zeros((count, lanes, len(alphabets)), np.int32)
    for position in range(count):
        changes = random.random((lanes, len(alphabets))) < 0.15
        fresh = np.stack([random.integers(0, size, lanes) for size in alphabets], -1)
        before = symbols[position - 1] if position else fresh
        symbols[position] = np.where(changes, fresh, before)
        for p in range(1, len(alphabets)):
            follows = random.random(lanes) < 0.7
            symbols[position, :, p] = np.where(
                follows, symbols[position, :, p - 1] % alphabets[p], symbols[position, :, p]
            )
    return symbols


def noise(grid: tuple[int, ...], lanes: int, alphabets: tuple[int, ...], seed: int) -> Codes:
    random, shape = np.random.default_rng(seed), (int(np.prod(grid)), lanes)
    return np.stack([random.integers(0, size, shape) for size in alphabets], -1).astype(np.int32)


def piece(grid: tuple[int, ...], symbols: Codes, labels: NDArray[np.int32] | None = None) -> Piece:
    none = np.zeros((symbols.shape[1], 1, 0), np.int32)
    return Piece(grid, none if labels is None else labels, symbols)


def primed(
    pieces: list[Piece], alphabets: tuple[int, ...], network: IntegerNetwork | None = None
) -> CountedGrid:
    order = [np.arange(size)[::-1].copy() for size in alphabets]
    return CountedGrid.primed_by(order, pieces, network, lambda _: None)


def stream(grid: tuple[int, ...], symbols: Codes, labels: torch.Tensor | None = None) -> Stream:
    return Stream(grid, symbols.shape[1], Conditioning(labels=labels), symbols=symbols)


def asked(stream: Stream, payload: bytes) -> Stream:
    return Stream(stream.grid, stream.lanes, stream.conditioning, payload=payload)


def cost(counted: CountedGrid, each: Stream) -> float:
    [(_, bits)] = counted.encode([each])
    assert each.symbols is not None
    return float(bits.sum()) / each.symbols.size


GRIDS = {1: (40,), 2: (6, 8), 3: (3, 4, 5)}
ALPHABETS = {1: (37,), 2: (16, 5), 3: (300, 2, 7)}


@cache
def counted_of(rank: int, beside: bool) -> CountedGrid:
    alphabets, grid = ALPHABETS[rank], GRIDS[rank]
    pieces = [piece(grid, blocks(grid, 4, alphabets, seed)) for seed in range(6)]
    network = random_network(alphabets, grid)[0] if beside else None
    return primed(pieces, alphabets, network)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_symbols_come_back(data):
    rank, beside = data.draw(st.integers(1, 3)), data.draw(st.booleans())
    counted = counted_of(rank, beside)
    first = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    kind: Callable[..., Codes] = data.draw(st.sampled_from([noise, blocks]))
    rest, lanes = GRIDS[rank][1:], data.draw(st.integers(1, 3))
    grids = [(extent, *rest) for extent in first]
    streams = [stream(g, kind(g, lanes, ALPHABETS[rank], seed)) for seed, g in enumerate(grids)]
    coded = counted.encode(streams)
    back = counted.decode([asked(each, payload) for each, (payload, _) in zip(streams, coded, strict=True)])
    for each, symbols, (payload, bits) in zip(streams, back, coded, strict=True):
        assert np.array_equal(symbols, each.symbols) and bits.shape == (lanes,)
        assert bits.sum() <= 8 * len(payload) <= bits.sum() + 64 + 2**-16 * each.symbols.size


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_tensors_are_the_whole_of_it(rank: int, beside: bool):
    counted, grid = counted_of(rank, beside), GRIDS[rank]
    again = CountedGrid(counted.tensors())
    assert again.id == counted.id and (again.rank, again.alphabets) == (rank, ALPHABETS[rank])
    each = stream(grid, blocks(grid, 2, ALPHABETS[rank], 50))
    for _ in range(2):  # made again of the training items, and then from the cache
        assert again.encode([each])[0][0] == counted.encode([each])[0][0]
        again = CountedGrid(counted.tensors())
    assert CountedGrid.owns(counted.tensors()) and not CountedGrid.owns({"order": torch.zeros(1)})


@pytest.mark.parametrize("beside", [False, True])
def test_a_stream_depends_neither_on_threads_nor_on_those_beside_it(beside: bool):
    counted, grid = counted_of(2, beside), GRIDS[2]
    streams = [
        stream(grid, kind(grid, 3, (16, 5), seed)) for seed, kind in enumerate([blocks, noise, blocks])
    ]
    alone, before = [counted.encode([each])[0][0] for each in streams], torch.get_num_threads()
    for threads in (1, 3):
        torch.set_num_threads(threads)
        try:
            assert [payload for payload, _ in counted.encode(streams)] == alone
        finally:
            torch.set_num_threads(before)


def test_what_resembles_the_training_items_costs_less():
    counted, empty = counted_of(2, False), primed([piece((1, 1), noise((1, 1), 1, (16, 5), 0))], (16, 5))
    each = stream((6, 8), blocks((6, 8), 1, (16, 5), 90))
    assert cost(counted, each) < 0.75 * cost(empty, each)
    assert cost(counted, stream((6, 8), noise((6, 8), 4, (16, 5), 1))) < 1.35 * np.log2(80) / 2


def test_it_learns_within_a_stream():
    empty = primed([piece((1,), noise((1,), 1, (64,), 0))], (64,))
    same = np.full((200, 1, 1), 33, np.int32)
    assert cost(empty, stream((200,), same)) < 0.1 * cost(empty, stream((200,), noise((200,), 1, (64,), 1)))


def test_lanes_learn_from_each_other():
    counted, item = counted_of(2, False), noise((6, 8), 1, (16, 5), 70)
    assert cost(counted, stream((6, 8), np.repeat(item, 8, axis=1))) < 0.5 * cost(
        counted, stream((6, 8), item)
    )


@pytest.mark.parametrize("along", [False, True])
def test_labels_are_a_context(along: bool):
    random, grid = np.random.default_rng(0), (20,)

    def labelled(seed: int) -> tuple[Codes, NDArray[np.int32]]:
        rows = 20 if along else 1
        labels = np.random.default_rng(seed).integers(0, 4, (6, rows, 1)).astype(np.int32)
        kind = np.broadcast_to(labels[..., 0], (6, 20)).T
        return (kind * 2 + random.integers(0, 2, (20, 6)))[..., None].astype(np.int32), labels

    pieces = [piece(grid, *labelled(seed)) for seed in range(30)]
    counted = primed(pieces, (8,))
    symbols, labels = labelled(99)
    right = torch.from_numpy(labels.astype(np.int64))
    right = right if along else right[:, 0]
    with_labels = cost(counted, stream(grid, symbols, right))
    assert with_labels < 1.35, "a bit is noise"
    assert cost(counted, stream(grid, symbols, (right + 1) % 4)) > with_labels + 0.2
    [(payload, _)] = counted.encode([stream(grid, symbols, right)])
    [back] = counted.decode([asked(stream(grid, symbols, right), payload)])
    assert np.array_equal(back, symbols)
    again = CountedGrid(counted.tensors())
    assert again.encode([stream(grid, symbols, right)])[0][0] == payload


def test_a_network_that_knows_is_believed():
    """Symbols that are drawn from the network: of them there is less to count than it knows."""
    network = random_network((40,), (32,), seed=3)[0]
    drawn = network.sample(24, (32,), Sampling(seed=1)).flatten(1, -2).transpose(0, 1).numpy()
    pieces = [piece((32,), drawn[:, k : k + 2].astype(np.int32)) for k in range(0, 16, 2)]
    counts, both = primed(pieces, (40,)), primed(pieces, (40,), network)
    each = stream((32,), drawn[:, 16:].astype(np.int32))
    [(_, bits)] = network.encode([each])
    alone = float(bits.sum()) / drawn[:, 16:].size
    assert alone < 0.9 * cost(counts, each) and cost(both, each) < 1.03 * alone


def test_a_network_that_knows_nothing_is_not_believed():
    """What was learned beside it is kept, and is what is coded with."""
    counts, both = counted_of(2, False), counted_of(2, True)
    each = stream((6, 8), blocks((6, 8), 4, (16, 5), 91))
    [(_, bits)] = random_network((16, 5), (6, 8))[0].encode([each])
    assert float(bits.sum()) / 384 > 1.3 * cost(counts, each)
    assert cost(both, each) < 1.08 * cost(counts, each)
    assert cost(CountedGrid(both.tensors()), each) == cost(both, each)


def test_the_arithmetic_is_that_of_the_format():
    """Other numbers here mean that models and archives that are there can no longer be read."""
    found = []
    for rank in (1, 2, 3):
        counted, grid = counted_of(rank, False), GRIDS[rank]
        [(payload, _)] = counted.encode([stream(grid, blocks(grid, 3, ALPHABETS[rank], 7))])
        found += [hashlib.blake2b(payload, digest_size=8).hexdigest(), counted.id.hex()[:16]]
    assert found == GOLDEN


GOLDEN = [
    "6a9dd5861f9c96d7",
    "462c9610ad097260",
    "8b1601d60d1161cd",
    "f294033a2c449359",
    "00ae35f8bb7bc5eb",
    "207599882994dc28",
]


def test_symbols_are_drawn_the_same_every_time():
    for beside in (False, True):
        counted = counted_of(2, beside)
        together = counted.sample(3, (6, 8), Sampling(seed=7))
        assert together.shape == (3, 6, 8, 2) and together.dtype == torch.int64
        assert (together.flatten(0, -2).amax(0) < torch.tensor([16, 5])).all()
        assert torch.equal(counted.sample(1, (6, 8), Sampling(seed=7), numbers=[2])[0], together[2])
        assert not torch.equal(together[0], together[1])
        prefix, done = together[:1].flatten(1, 2)[:, :11], list[int]()
        continued = counted.sample(1, (6, 8), Sampling(seed=9), prefix=prefix, progress=done.append)
        assert torch.equal(continued.flatten(1, 2)[:, :11], prefix) and sum(done) == 96
    assert counted.sample(0, (6, 8), Sampling()).shape == (0, 6, 8, 2)


def test_what_is_drawn_has_the_probabilities_that_coding_gives():
    counted = counted_of(1, False)
    costs = [cost(counted, stream((1,), np.full((1, 1, 1), symbol, np.int32))) for symbol in range(37)]
    wanted = 2.0 ** -np.array(costs)
    assert abs(wanted.sum() - 1) < 1e-6
    drawn = counted.sample(4000, (1,), Sampling(seed=1)).flatten().numpy()
    counts = np.bincount(drawn, minlength=37)
    assert ((counts - 4000 * wanted) ** 2 / (4000 * wanted)).sum() < 37 + 4 * np.sqrt(74)
    likeliest = counted.sample(1, (1,), Sampling(top_k=1)).item()
    assert wanted[likeliest] > 0.97 * wanted.max()


@settings(max_examples=30, deadline=None)
@given(payload=st.binary(max_size=80), rank=st.integers(1, 3), beside=st.booleans())
def test_any_payload_is_symbols_or_called_damaged(payload: bytes, rank: int, beside: bool):
    [symbols] = counted_of(rank, beside).decode([Stream(GRIDS[rank], 2, payload=payload)])
    assert len(payload) % 4 == 0 or symbols is None
    if symbols is not None:
        assert symbols.shape == (int(np.prod(GRIDS[rank])), 2, len(ALPHABETS[rank]))
        assert (symbols >= 0).all() and (symbols < ALPHABETS[rank]).all()


def test_symbols_outside_the_alphabets_are_refused():
    for symbol in (-1, 37):
        with pytest.raises(ValueError, match="alphabets"):
            counted_of(1, False).encode([stream((1,), np.full((1, 1, 1), symbol, np.int32))])


@pytest.mark.parametrize(
    "change",
    [
        {"version": torch.tensor(2)},
        {"version": torch.tensor(1, dtype=torch.int32)},
        {"alphabets": torch.tensor([16])},
        {"alphabets": torch.tensor([1, 20])},
        {"alphabets": torch.tensor([1 << 40, 5])},
        {"order": torch.zeros(21, dtype=torch.int32)},
        {"order": torch.full((21,), -1, dtype=torch.int32)},
        {"shapes": torch.zeros(0, 4, dtype=torch.int64)},
        {"shapes": torch.tensor([[1 << 30, 1, 1 << 30, 8]])},
        {"shapes": torch.tensor([[4, 1, -6, -8]])},
        {"shapes": torch.tensor([[4, 9, 6, 8]])},
        {"shapes": torch.ones(3, 9, dtype=torch.int64)},
        {"labels": torch.zeros(1, 0, dtype=torch.int32)},
        {"labels": torch.zeros(24, 70, dtype=torch.int32)},
        {"total": torch.tensor(1 << 50)},
        {"total": torch.tensor(5)},
        {"more": torch.tensor(1)},
        {"learned": None},
        {"network.structure": torch.zeros(3)},
    ],
)
def test_other_tensors_are_refused(change):
    tensors = {**counted_of(2, False).tensors(), **change}
    with pytest.raises(CheckpointError):
        CountedGrid({name: value for name, value in tensors.items() if value is not None})


def test_a_network_of_other_symbols_is_refused():
    other = random_network((16, 6), (6, 8))[0]
    tensors = {**counted_of(2, False).tensors(), **{f"network.{k}": v for k, v in other.tensors().items()}}
    with pytest.raises(CheckpointError, match="other symbols"):
        CountedGrid(tensors)


def test_damaged_training_codes_are_refused_or_other_codes():
    tensors, refused = counted_of(1, False).tensors(), 0
    codes, random = tensors["codes"], np.random.default_rng(0)
    for number in range(12):
        changed = codes[: len(codes) // 2 // 4 * 4] if number == 0 else codes.clone()
        if number:
            changed[int(random.integers(len(changed)))] ^= int(random.integers(1, 256))
        counted = CountedGrid({**tensors, "codes": changed})
        assert counted.id != counted_of(1, False).id
        try:
            [(payload, _)] = counted.encode([stream((9,), noise((9,), 1, (37,), 0))])
        except CheckpointError as error:
            refused += 1
            assert "training items of the counted prior are damaged" in str(error)
        else:
            [back] = counted.decode([asked(stream((9,), noise((9,), 1, (37,), 0)), payload)])
            assert np.array_equal(back, noise((9,), 1, (37,), 0))
    assert refused >= 1


def test_a_damaged_cache_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    counted, each = counted_of(1, False), stream((9,), noise((9,), 1, (37,), 0))
    [(wanted, _)] = counted.encode([each])
    CountedGrid(counted.tensors()).encode([each])
    [file] = (tmp_path / "latentpress").glob(f"counted-{counted.id.hex()}.bin")
    whole = file.read_bytes()
    for damaged in (whole[:-1], whole[:5000] + b"?" + whole[5001:], b""):
        file.write_bytes(damaged)
        assert CountedGrid(counted.tensors()).encode([each])[0][0] == wanted
        assert file.read_bytes() == whole


@pytest.mark.parametrize("seed", range(3))
def test_whatever_was_learned_codes_any_symbols(seed: int):
    """What a forged model can hold: no number of it makes coding fail, or differ from decoding."""
    counted, random = counted_of(2, True), np.random.default_rng(seed)
    form = Form.of([np.arange(16), np.arange(5)], True)
    fresh = Learned.fresh(form)
    wild = Learned(
        random.integers(0, 1 << 22, fresh.maps.shape).astype(np.int32),
        random.integers(0, 1 << 22, fresh.local_maps.shape).astype(np.int32),
        random.integers(-(1 << 20) + 1, 1 << 20, fresh.weights.shape).astype(np.int32),
        random.integers(-(1 << 24), (1 << 24) + 1, fresh.last.shape).astype(np.int32),
        random.integers(0, 1 << 16, fresh.curves.shape).astype(np.uint16),
    )
    packed = torch.from_numpy(np.frombuffer(packing.pack(wild, form), np.uint8).copy())
    forged = CountedGrid({**counted.tensors(), "learned": packed})
    each = stream((6, 8), noise((6, 8), 3, (16, 5), seed))
    [(payload, _)] = forged.encode([each])
    [back] = forged.decode([asked(each, payload)])
    assert np.array_equal(back, each.symbols)
    beyond = wild._replace(weights=wild.weights + (1 << 20))
    packed = torch.from_numpy(np.frombuffer(packing.pack(beyond, form), np.uint8).copy())
    with pytest.raises(CheckpointError, match="outside its range"):
        CountedGrid({**counted.tensors(), "learned": packed}).encode([each])


def test_the_first_bits_of_a_rank_say_what_is_alike():
    random = np.random.default_rng(0)
    centres = np.array(
        [[0, 0, 0], [0, 60, 0], [100, 0, 0], [100, 60, 0]]
    )  # one axis alone does not part them
    vectors = (centres[:, None] + random.normal(size=(4, 8, 3))).reshape(32, 3)
    order = alike(vectors)
    assert sorted(order) == list(range(32))
    assert all(len(set(order[start : start + 8] // 8)) == 1 for start in range(0, 32, 8))
    assert sorted(alike(vectors[:21])) == list(range(21)) and alike(vectors[:1]).tolist() == [0]


def test_the_state_stays_as_it_was():
    counted, each = counted_of(2, False), stream((6, 8), noise((6, 8), 2, (16, 5), 3))
    assert counted._primed is not None
    parts = (*counted._primed.prior, *counted._primed.learned)
    before = [part.copy() for part in parts]
    counted.encode([each])
    counted.sample(1, (6, 8), Sampling(seed=3))
    assert all(map(np.array_equal, parts, before))


def test_labels_are_told_apart():
    labels = np.array([[[0, 1]], [[1, 0]], [[0, -1]]])
    assert len(set(hashed_labels(labels, 3)[:, 0].tolist())) == 3
    assert hashed_labels(None, 2).tolist() == [[0], [0]]
