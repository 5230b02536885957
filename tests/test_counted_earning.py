"""What inputs of counted contexts earn: each is measured without what it learned, and has it again after."""

import numpy as np
import pytest

from latentpress.counted import CountedBytes, CountedGrid, CountedPictures
from latentpress.counted.earning import earnings
from latentpress.counted.grids.contexts import CONTEXTS, names
from latentpress.counted.grids.pieces import Piece
from latentpress.data import array_source, load_dataset
from latentpress.evaluate import diagnose
from latentpress.evaluate.inputs import input_earnings
from latentpress.exact.distribution import Stream
from small.archives import codec
from small.items import samples_of
from small.networks import random_network


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory):
    """A cache folder of these tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def measured(counted, stream: Stream) -> tuple[float, dict[str, float]]:
    before, seen = counted.encode([stream])[0][0], list[tuple[int, int]]()
    whole, without = earnings(counted, [stream], lambda done, of: seen.append((done, of)))
    assert counted.encode([stream])[0][0] == before, "nothing is forgotten for good"
    assert seen == [(done, len(without)) for done in range(len(without) + 1)]
    assert whole > 0 and len(set(without)) == len(without)
    return whole, without


def follows(lanes: int, seed: int) -> np.ndarray:
    """The second component follows from the first, and nothing else from anything."""
    first = np.random.default_rng(seed).integers(0, 32, (48, lanes, 1))
    return np.concatenate([first, first * 7 % 32], axis=2).astype(np.int32)


@pytest.mark.parametrize("beside", [False, True])
def test_the_context_that_tells_is_the_dearest(beside: bool):
    network = random_network((32, 32), (6, 8))[0] if beside else None
    none = np.zeros((4, 1, 0), np.int32)
    pieces = [Piece((6, 8), none, follows(4, seed)) for seed in range(20)]
    counted = CountedGrid.primed_by([np.arange(32)] * 2, pieces, network, lambda _: None)
    whole, without = measured(counted, Stream((6, 8), 2, symbols=follows(2, 99)))
    dearest = max(without, key=lambda name: without[name])
    assert "; later codebook before" in dearest and without[dearest] > 0.05 * whole
    assert len(without) == CONTEXTS + 1 + beside and ("the network" in without) == beside


def test_texts_are_dearer_without_what_was_learned():
    words = [b"a rose is a rose is a rose. ", b"to be or not to be, that is the question: "]
    texts = [np.frombuffer(word * 40, np.uint8) for word in words]
    counted = CountedBytes.primed_by(texts, sum(map(len, texts)), lambda _: None)
    text = np.frombuffer(words[1] + words[0], np.uint8).reshape(-1, 1, 1)
    _, without = measured(counted, Stream((len(text),), 1, symbols=text))
    assert len(without) == 23 and without["matches in the training texts"] > 0


def test_pictures_are_dearer_without_what_was_learned():
    random = np.random.default_rng(0)

    def picture() -> np.ndarray:
        return np.clip(np.cumsum(random.integers(-3, 4, (16, 24, 3)), axis=1) + 90, 0, 255).astype(np.uint8)

    counted = CountedPictures.primed_by([picture() for _ in range(8)], 3, 8 * 1152, lambda _: None)
    symbols = picture().reshape(-1, 1, 3).astype(np.int64)
    whole, without = measured(counted, Stream((16, 24), 1, symbols=symbols))
    assert len(without) == 19 and sum(without.values()) > 0.01 * whole
    assert all(without.values()), "each is forgotten, the first one too"


def test_every_context_has_a_name_of_its_own():
    for rank in (1, 2, 3):
        for components in (1, 2):
            found = names(rank, components)
            assert len(found) == len(set(found)) == CONTEXTS
            assert any("; later " in name for name in found) == (components > 1)


def test_a_diagnosis_says_it_of_each_part_that_counts():
    model = codec("vq-counted", "image")
    items = [samples_of(model.item, (6, 4), seed) for seed in range(5)]
    data = load_dataset(array_source(items, model.item))
    found = diagnose(codec("vq", "image"), data)
    assert found.inputs == {} and "inputs" in found.to_json()
    [(part, inputs)] = input_earnings(model, data, lambda *_: None).items()
    streams = [
        Stream((3, 2), 1, symbols=model.encode(item[None])[0].numpy().reshape(-1, 1, 2)) for item in items
    ]
    prior = model.integer.prior
    assert isinstance(prior, CountedGrid) and part == "prior"
    bits = sum(float(each.sum()) for _, each in prior.encode(streams))
    assert inputs.bits == pytest.approx(bits / 60) and "the network" in inputs.without
