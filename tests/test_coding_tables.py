import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentpress.coding import TOTAL, code_length_bits, frequencies, normalize
from latentpress.coding.tables import WEIGHTS


def test_the_weights_are_part_of_the_format():
    digest = hashlib.blake2b(WEIGHTS.astype("<i8").tobytes(), digest_size=16).hexdigest()
    assert digest == "cf1567eed9e730de0009f6e2f25164db"


def test_known_table():
    assert frequencies(np.array([[0, 32, -5000]])).tolist() == [[4512088, 12265127, 1]]


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=2, max_size=300))
def test_every_table_sums_to_2_to_the_24_and_has_no_zero(logits):
    table = frequencies(np.array([logits], np.int32))
    assert table.sum() == TOTAL and table.min() >= 1


@given(st.lists(st.integers(0, 2**40), min_size=2, max_size=50).filter(any))
def test_normalize_keeps_proportions(weights):
    table = normalize(np.array([weights]))[0]
    ideal = np.array(weights) / sum(weights) * TOTAL
    assert table.sum() == TOTAL
    assert np.abs(table - ideal).max() <= 2 * len(weights) + TOTAL * 2.0**-20


def test_a_remainder_goes_to_the_first_of_the_largest():
    assert normalize(np.array([[1, 5, 5]]))[0, 1] > normalize(np.array([[1, 5, 5]]))[0, 2]


@pytest.mark.parametrize("size", [2, 512, 65536])
def test_tables_cost_no_more_than_the_softmax(size):
    logits = np.random.default_rng(0).normal(0, 60, (20, size)).astype(np.int32)
    p = np.exp((logits - logits.max(1, keepdims=True)) / 32)
    p /= p.sum(1, keepdims=True)
    entropy = -(p * np.log2(np.maximum(p, 1e-300))).sum()
    coded = -(p * np.log2(frequencies(logits) / TOTAL)).sum()
    assert entropy <= coded < entropy * 1.0005


def test_rows_do_not_depend_on_those_beside_them():
    logits = np.random.default_rng(0).integers(-500, 500, (5000, 40), np.int32)
    assert np.array_equal(frequencies(logits)[4321:4323], frequencies(logits[4321:4323]))


def test_code_length_of_even_tables():
    tables = np.full((3, 4, 2), TOTAL // 2)
    assert code_length_bits(tables, np.zeros((3, 4), np.int64)) == 12.0
