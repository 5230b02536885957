import numpy as np
import pytest

from latentpress.config import CausalConfig, ImageConfig, VQVAEConfig
from latentpress.data.loading import Pool, load_pool
from latentpress.data.sources import array_source
from latentpress.errors import TrainingError
from latentpress.train.pools import check_pool, pool_digest, split


def pool_of(count: int, labels=None, channels: int = 3) -> Pool:
    images = np.arange(count * 6 * 5 * channels, dtype=np.int64).reshape(count, 6, 5, channels) % 251
    return load_pool(array_source(images.astype(np.uint8), labels))


@pytest.mark.parametrize(("count", "held"), [(3, 0), (99, 0), (100, 2), (1017, 20)])
def test_every_item_is_in_one_of_both_parts(count: int, held: int):
    pool = pool_of(count, labels=np.arange(count) % 3)
    train, held_out = split(pool)
    parts = [train] if held_out is None else [train, held_out]
    assert (0 if held_out is None else len(held_out)) == held
    assert sorted(name for part in parts for name in part.names) == sorted(pool.names)
    whole = {name: (pool[i].tobytes(), pool.labels[i]) for i, name in enumerate(pool.names)}
    for part in parts:
        assert part.stacked is not None and len(part.stacked) == len(part)
        for i, name in enumerate(part.names):
            assert (part[i].tobytes(), part.labels[i]) == whole[name]
            assert part.stacked[i].transpose(1, 2, 0).tobytes() == whole[name][0]


def test_held_out_items_are_spread_evenly():
    _, held_out = split(pool_of(500))
    assert held_out is not None
    places = [pool_of(500).names.index(name) for name in held_out.names]
    assert set(np.diff(places)) == {50}


def test_the_digest_tells_data_sets_apart():
    digests = [
        pool_digest(pool_of(5)),
        pool_digest(pool_of(6)),
        pool_digest(pool_of(5, labels=[0, 0, 1, 1, 1])),
    ]
    assert len(set(digests)) == 3 and pool_digest(pool_of(5)) == digests[0]


def test_items_that_do_not_fit_are_refused_with_advice():
    with pytest.raises(TrainingError, match=r"model\.item\.channels=1"):
        check_pool(pool_of(3, channels=1), VQVAEConfig())
    conditional = VQVAEConfig(
        item=ImageConfig(channels=3), prior=CausalConfig(class_conditional=True), labels=("a",)
    )
    with pytest.raises(TrainingError, match="labels"):
        check_pool(pool_of(3), conditional)
