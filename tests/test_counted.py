"""Counted contexts of bytes: what is coded comes back, alike everywhere, and costs what it is said to."""

import hashlib
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentpress.config.networks import MAX_TRAINING_BYTES, TRAINING_PIECE
from latentpress.counted import CountedBytes, CountedDecoder
from latentpress.errors import CheckpointError
from latentpress.exact.distribution import Sampling, Stream

WORDS = (
    *("the", "codec", "learns", "what", "comes", "after", "these", "words"),
    *("from", "texts", "that", "it", "has", "seen", "before\n"),
)
TEXTS = st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=4)


def prose(seed, words=250):
    """Text of a small vocabulary, the same everywhere."""
    state, found = seed, []
    for _ in range(words):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        found.append(WORDS[(state >> 33) % len(WORDS)])
    return np.frombuffer(" ".join(found).encode(), np.uint8)


def primed(texts):
    return CountedBytes.primed_by(texts, sum(map(len, texts)), lambda _: None)


def stream(*lanes):
    symbols = np.stack([np.frombuffer(bytes(lane), np.uint8) for lane in lanes], axis=1)
    return Stream((len(lanes[0]),), len(lanes), symbols=symbols[..., None])


def asked(stream, payload):
    return Stream(stream.grid, stream.lanes, payload=payload)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """A cache folder of these tests' own."""

    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder / "latentpress"


@pytest.fixture(scope="module")
def counted(cache):
    return primed([prose(seed) for seed in range(8)])


@settings(max_examples=40, deadline=None)
@given(texts=TEXTS)
def test_any_bytes_come_back(counted, texts):
    streams = [stream(text) for text in texts]
    coded = counted.encode(streams)
    back = counted.decode([asked(each, payload) for each, (payload, _) in zip(streams, coded, strict=True)])
    for each, symbols, (payload, bits) in zip(streams, back, coded, strict=True):
        assert np.array_equal(symbols, each.symbols)
        assert bits.sum() <= 8 * len(payload) <= bits.sum() + 64 + 2**-20 * each.symbols.size


def test_an_item_does_not_depend_on_those_beside_it(counted):
    texts = [prose(20)[:400], prose(21)[:400], np.arange(400).astype(np.uint8)]
    alone = [counted.encode([stream(text)])[0] for text in texts]
    before = torch.get_num_threads()
    for threads in (1, 3):
        torch.set_num_threads(threads)
        try:
            together = counted.encode([stream(text) for text in texts])
            assert [payload for payload, _ in together] == [payload for payload, _ in alone]
            [(payload, bits)] = counted.encode([stream(*texts)])
            assert np.allclose(bits, [float(each.sum()) for _, each in alone])
            [back] = counted.decode([asked(stream(*texts), payload)])
            assert np.array_equal(back, stream(*texts).symbols)
        finally:
            torch.set_num_threads(before)


def test_coding_leaves_the_primed_state_as_it_is(counted):
    before = hashlib.blake2b(b"".join(each.tobytes() for each in counted._primed.arrays)).digest()
    coded = counted.encode([stream(prose(5)), stream(prose(5))])
    counted.sample(2, (40,), Sampling(seed=3))
    assert coded[0][0] == coded[1][0]
    assert hashlib.blake2b(b"".join(each.tobytes() for each in counted._primed.arrays)).digest() == before


def test_what_resembles_the_training_texts_costs_less(counted):
    empty = primed([])
    text = prose(9, 40)
    cost = [float(each.encode([stream(text)])[0][1].sum()) / len(text) for each in (counted, empty)]
    assert cost[0] < 0.5 * cost[1] and cost[1] < 8
    [(_, noise)] = counted.encode([stream(np.random.default_rng(0).bytes(2000))])
    assert float(noise.sum()) < 1.1 * 16_000


def test_it_learns_within_an_item(counted):
    half = np.random.default_rng(1).bytes(600)
    [(_, once)], [(_, twice)] = counted.encode([stream(half)]), counted.encode([stream(half + half)])
    assert float(twice.sum()) < 1.25 * float(once.sum())


def test_the_arithmetic_is_that_of_the_format(counted):
    """Other numbers here mean that models and archives that are there can no longer be read."""
    [(payload, _)] = counted.encode([stream(prose(100, 400))])
    assert counted.id.hex() == "1aca7a54ac0c3ea02f37ed1a4dd7a004"
    assert hashlib.blake2b(payload, digest_size=8).hexdigest() == "e384f685cd699779"


def test_tensors_are_the_whole_of_it(counted, cache):
    """A model that is read anew, with a cache, without one and with damaged ones, codes the same bytes."""
    text = stream(prose(30))
    wanted, file = counted.encode([text])[0][0], cache / f"counted-{counted.id.hex()}.bin"
    whole = file.read_bytes()
    for cached in (whole, None, b"", whole[:-1], whole[: len(whole) // 2], whole[:-50] + b"?" + whole[-49:]):
        file.unlink()
        if cached is not None:
            file.write_bytes(cached)
        again = CountedBytes.from_tensors(counted.tensors())
        assert again.id == counted.id and again.encode([text])[0][0] == wanted
        assert file.read_bytes() == whole


def test_no_folder_to_cache_in_does_no_harm(counted, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    again = CountedBytes.from_tensors(counted.tensors())
    assert again.encode([stream(prose(30))])[0][0] == counted.encode([stream(prose(30))])[0][0]


def test_training_may_end_before_the_last_text():
    texts = [prose(seed) for seed in range(6)]
    part = CountedBytes.primed_by(iter(texts[:3]), sum(map(len, texts)), lambda _: None)
    again = CountedBytes.from_tensors(part.tensors())
    assert again.encode([stream(prose(30))])[0][0] == part.encode([stream(prose(30))])[0][0]
    assert part.id != primed(texts[:3]).id


def test_progress_counts_every_byte_and_may_stop_it(counted, cache):
    done = []
    texts = [prose(seed, 4000) for seed in range(2)]
    CountedBytes.primed_by(texts, sum(map(len, texts)), done.append)
    assert sum(done) == sum(map(len, texts)) and len(done) > 2

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        CountedBytes.primed_by(texts, sum(map(len, texts)), stop)
    (cache / f"counted-{counted.id.hex()}.bin").unlink()
    seen = []
    CountedBytes.from_tensors(counted.tensors()).prepare(lambda *each: seen.append(each))
    total = sum(counted.tensors()["lengths"].tolist())
    assert seen[-1] == ("count", total, total)


@pytest.mark.parametrize(
    "change",
    [
        {"version": torch.tensor(2)},
        {"version": torch.tensor(1, dtype=torch.int32)},
        {"codes": torch.zeros(3)},
        {"lengths": torch.tensor([5, -1])},
        {"lengths": torch.tensor([1 << 40])},
        {"lengths": torch.tensor([TRAINING_PIECE + 1]), "total": torch.tensor(TRAINING_PIECE + 1)},
        {"lengths": torch.zeros(0, dtype=torch.int64), "total": torch.tensor(MAX_TRAINING_BYTES + 1)},
        {"total": torch.tensor(1)},
        {"total": torch.tensor(1 << 40)},
        {"more": torch.tensor(1)},
        {"codes": None},
    ],
)
def test_other_tensors_are_refused(counted, change):
    tensors = {**counted.tensors(), **change}
    with pytest.raises(CheckpointError, match="counted decoder"):
        CountedBytes.from_tensors({name: value for name, value in tensors.items() if value is not None})


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_damaged_training_codes_are_other_texts_or_refused(counted, data):
    tensors = counted.tensors()
    codes = tensors["codes"].clone()
    place = data.draw(st.integers(0, len(codes) - 1))
    codes[place] ^= data.draw(st.integers(1, 255))
    kept = data.draw(st.sampled_from([len(codes), len(codes) // 2, 3, 0]))
    damaged = CountedBytes.from_tensors({**tensors, "codes": codes[:kept]})
    assert damaged.id != counted.id
    try:
        [(payload, _)] = damaged.encode([stream(b"abc")])
    except CheckpointError as error:
        assert re.search("damaged", str(error))
    else:
        assert np.array_equal(damaged.decode([asked(stream(b"abc"), payload)])[0].ravel(), list(b"abc"))


@settings(max_examples=30, deadline=None)
@given(payload=st.binary(max_size=80), length=st.integers(1, 120))
def test_any_payload_is_bytes_or_called_damaged(counted, payload, length):
    [symbols] = counted.decode([Stream((length,), 1, payload=payload)])
    assert symbols is None or (symbols.shape == (length, 1, 1) and 0 <= symbols.min() <= symbols.max() < 256)
    assert len(payload) % 4 == 0 or symbols is None


def test_a_payload_cut_short_is_damaged_and_harms_no_other(counted):
    long, short = stream(np.random.default_rng(2).bytes(500)), stream(b"fine")
    coded = counted.encode([long, short])
    cut = asked(long, coded[0][0][:200])
    damaged, fine = counted.decode([cut, asked(short, coded[1][0])])
    assert damaged is None and fine.tobytes() == np.array(list(b"fine"), np.int32).tobytes()


def test_symbols_are_bytes(counted):
    for symbol in (-1, 256):
        with pytest.raises(ValueError, match="8 bits"):
            counted.encode([Stream((1,), 1, symbols=np.array([[[symbol]]]))])


def test_no_streams_and_no_items(counted):
    assert counted.encode([]) == counted.decode([]) == []
    assert counted.sample(0, (5,), Sampling()).shape == (0, 5, 1)


def test_texts_are_drawn_the_same_every_time(counted):
    together = counted.sample(3, (60,), Sampling(seed=7))
    assert together.shape == (3, 60, 1) and together.dtype == torch.int64
    assert torch.equal(counted.sample(1, (60,), Sampling(seed=7), numbers=[2])[0], together[2])
    assert not torch.equal(together[0], together[1])
    assert not torch.equal(counted.sample(1, (60,), Sampling(seed=8))[0], together[0])
    prefix, done = torch.tensor(list(b"the codec "))[None, :, None], []
    given_ = counted.sample(1, (60,), Sampling(seed=7), prefix=prefix, progress=done.append)
    assert torch.equal(given_[:, :10], prefix) and sum(done) == 60


def test_the_likeliest_text_looks_like_the_training_texts(counted):
    for how in (Sampling(top_k=1), Sampling(top_p=1e-6), Sampling(temperature=0.02)):
        text = bytes(counted.sample(1, (120,), how).flatten().tolist())
        assert set(text) <= set(b" ".join(word.encode() for word in WORDS)), how


def test_what_is_drawn_has_the_probabilities_that_coding_gives(counted):
    """Of the first byte of an item, whose contexts are the same for all."""
    costs = [float(bits.sum()) for _, bits in counted.encode([stream(bytes([byte])) for byte in range(256)])]
    wanted = 2.0 ** -np.array(costs)
    assert wanted.sum() == pytest.approx(1, abs=1e-9)
    first = counted.sample(3000, (1,), Sampling(seed=1)).flatten().numpy()
    shares = np.bincount(first, minlength=256) / 3000
    assert np.abs(shares - wanted).max() < 0.03 + 0.05 * wanted.max()


def test_a_decoder_owns_its_tensors(counted):
    decoder = CountedDecoder(counted)
    assert CountedDecoder.owns(decoder.tensors()) and not CountedDecoder.owns({"network.structure": 0})
    assert CountedDecoder.from_tensors(decoder.tensors()).id == decoder.id == decoder.to("cpu").id
    assert decoder.coarsened(3) is decoder and decoder.conditioning(None, (5,)).local is None


def test_a_long_training_text_is_learned_from_in_pieces(monkeypatch):
    """Coded as one, weights would never meet what was counted before."""
    text, other = prose(50, 4000), prose(51, 200)
    whole = primed([text])
    monkeypatch.setattr("latentpress.counted.priming.TRAINING_PIECE", 2000)
    pieces = primed([text])
    lengths = pieces.tensors()["lengths"].tolist()
    assert set(lengths[:-1]) == {2000} and sum(lengths) == len(text)
    [(_, one)], [(_, many)] = whole.encode([stream(other)]), pieces.encode([stream(other)])
    assert float(many.sum()) < float(one.sum())
