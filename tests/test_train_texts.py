import numpy as np
import pytest

from latentpress.errors import TrainingError
from latentpress.train.texts import check_text_pool, split_texts, text_pool_digest
from test_data_windows import pool_of


def texts_of(pool):
    return [] if pool is None else [pool[i].tobytes() for i in range(len(pool))]


@pytest.mark.parametrize(("count", "held"), [(100, 2), (1017, 20)])
def test_of_many_texts_every_one_is_in_one_of_both_parts(count, held):
    texts = [str(i).encode() * 3 for i in range(count)] + [b""] * 60
    train, held_out = split_texts(pool_of(texts, [str(i % 3) for i in range(len(texts))]))
    assert held_out is not None and len(held_out) == held and held_out.lengths.all()
    assert sorted(texts_of(train) + texts_of(held_out)) == sorted(texts)
    assert set(np.diff([int(text[: len(text) // 3]) for text in texts_of(held_out)])) <= {50, 51}
    for part in (train, held_out):
        for name, label in zip(part.names, part.labels, strict=True):
            assert int(name.removesuffix(".txt")) % 3 == label


def test_of_few_texts_the_end_of_the_longest_is_held_out():
    texts = [b"a" * 300, bytes(range(200)) * 4, b"", b"b" * 100]
    pool = pool_of(texts)
    train, held_out = split_texts(pool)
    assert held_out is not None and held_out.names == ("1.txt",)
    (tail,) = texts_of(held_out)
    assert len(tail) == 24 and texts_of(train) == [texts[0], texts[1][:-24], b"", texts[3]]
    assert texts[1].endswith(tail) and texts_of(pool) == texts
    assert train.names == pool.names and train.lengths.sum() == len(train.memory)


def test_next_to_nothing_is_not_split():
    pool = pool_of([b"a" * 20, b"b" * 29])
    assert split_texts(pool) == (pool, None)


def test_equally_short_texts_are_not_eaten_up():
    train, held_out = split_texts(pool_of([b"ab"] * 99))
    assert texts_of(held_out) == [b"b"] and texts_of(train) == [b"a", *[b"ab"] * 98]


def test_the_digest_tells_data_sets_apart():
    pools = [pool_of(texts) for texts in ([b"ab", b"c"], [b"a", b"bc"], [b"ab", b"d"])]
    pools.append(pool_of([b"ab", b"c"], ["x", None]))
    digests = [text_pool_digest(pool) for pool in pools]
    assert len(set(digests)) == 4 and text_pool_digest(pool_of([b"ab", b"c"])) == digests[0]


def test_nothing_to_train_on_is_refused():
    check_text_pool(pool_of([b"", b"a"]))
    with pytest.raises(TrainingError, match="no byte"):
        check_text_pool(pool_of([b"", b""]))
