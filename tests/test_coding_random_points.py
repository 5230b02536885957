"""Random points: from the item's own stream, the same however many are taken."""

import numpy as np

from latentpress.coding import TOTAL
from latentpress.coding.random_points import random_points


def test_golden_numbers():
    assert random_points(2**64 - 1, 2**64 - 1, (3,)).tolist() == GOLDEN


GOLDEN = [7161548, 9588385, 16630623]


def test_more_of_them_begin_alike():
    assert np.array_equal(random_points(3, 5, (4, 25)).ravel()[:10], random_points(3, 5, (10,)))


def test_items_and_seeds_have_streams_of_their_own():
    streams = {tuple(random_points(seed, item, (4,))) for seed in range(9) for item in range(9)}
    assert len(streams) == 81


def test_they_are_spread_evenly():
    points = random_points(0, 0, (100_000,))
    assert points.max() < TOTAL
    counts = np.bincount(points >> 20, minlength=16)
    assert np.abs(counts / 100_000 - 1 / 16).max() < 0.005
