"""Laws of the search for equal bytes, with real codecs and with one whose sizes are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentpress.errors import ConfigError
from latentpress.evaluate.codecs import (
    Codec,
    Search,
    available,
    find_codec,
    mosaic,
    search_files,
    search_mosaic,
    unmosaic,
)
from latentpress.evaluate.comparison import compare_each, compare_files, compare_mosaic
from latentpress.evaluate.metrics import Distortion


def photo(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """A smooth picture with edges, which all codecs handle as they do photographs."""
    rows, columns = np.mgrid[0:height, 0:width] / 9.0
    waves = [np.sin(rows * (1 + k) + seed) * np.cos(columns - k) + (rows > columns) for k in range(channels)]
    return np.clip(100 + 50 * np.stack(waves, -1), 0, 255).astype(np.uint8)


class Ruler(Codec):
    """A codec of 100 * 2**(quality / 10) bytes whose error falls by 1 dB a step."""

    def encode(self, pixels: np.ndarray, quality: int) -> bytes:
        return quality.to_bytes(1, "big") + bytes(round(100 * 2 ** (quality / 10)) - 1)

    def decode(self, data: bytes, channels: int) -> np.ndarray:
        return np.full((1, 1, 1), data[0], np.uint8)


def ruler() -> Search:
    def measure(restored: list[np.ndarray]) -> Distortion:
        quality = float(restored[0][0, 0, 0])
        unknown = np.full(1, np.nan)
        return Distortion(np.ones(1), np.array([255.0**2 * 10 ** (-quality / 10)]), unknown, unknown)

    return Search(Ruler("ruler", 0, 60), [np.zeros((4, 4, 1), np.uint8)], measure)


@given(st.integers(101, 6399))
def test_search_interpolates_linearly_in_log_bytes(budget: int) -> None:
    match = ruler().at_bytes(budget)
    assert match.smaller_bytes < match.size_bytes == budget <= match.larger_bytes
    expected_psnr = 10 * math.log2(budget / 100)  # one setting more is one dB more
    assert match.distortion.psnr_db[0] == pytest.approx(expected_psnr, abs=0.1)  # sizes are whole bytes


@pytest.mark.parametrize(("budget", "size", "psnr_db"), [(1, 100, 0), (100, 100, 0), (10**6, 6400, 60)])
def test_search_ends_at_the_codecs_limits(budget: int, size: int, psnr_db: float) -> None:
    match = ruler().at_bytes(budget)
    assert match.size_bytes == match.smaller_bytes == match.larger_bytes == size
    assert match.distortion.psnr_db[0] == pytest.approx(psnr_db)


@pytest.mark.parametrize("name", available())
@pytest.mark.parametrize("channels", [1, 3])
def test_codecs_keep_shape_and_get_better_with_quality(name: str, channels: int) -> None:
    codec, pixels = find_codec(name), photo(48, 37, channels)
    errors, sizes = [], []
    for quality in (codec.lowest, codec.highest):
        data = codec.encode(pixels, quality)
        restored = codec.decode(data, channels)
        assert restored.shape == pixels.shape and restored.dtype == np.uint8
        errors.append(np.square(restored.astype(float) - pixels).mean())
        sizes.append(len(data))
    assert errors[0] > errors[1] and sizes[0] < sizes[1]


@pytest.mark.parametrize("name", available())
def test_real_sizes_enclose_the_budget(name: str) -> None:
    pixels = photo(64, 64)
    codec = find_codec(name)
    budget = (len(codec.encode(pixels, 20)) + len(codec.encode(pixels, 80))) // 2
    match = search_files(codec, [pixels]).at_bytes(budget)
    assert match.smaller_bytes <= budget == match.size_bytes <= match.larger_bytes


def test_unknown_codecs_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"no codec 'gif'.*jpeg"):
        find_codec("gif")


def test_a_missing_plugin_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Codec, "is_available", lambda self: self.name != "jxl")
    with pytest.raises(ConfigError, match=r"install latentpress\[bench\]"):
        find_codec("jxl")


@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 5), st.sampled_from([1, 3]))
def test_unmosaic_inverts_mosaic(count: int, height: int, width: int, channels: int) -> None:
    images = np.random.default_rng(count).integers(0, 256, (count, height, width, channels), np.uint8)
    picture = mosaic(images)
    np.testing.assert_array_equal(unmosaic(picture, count, (height, width)), images)
    np.testing.assert_array_equal(picture[:height, :width], images[0])
    assert picture[..., 0].size < (math.isqrt(count) + 1) ** 2 * height * width + 1


def test_mosaic_costs_less_than_files_for_small_images() -> None:
    images = np.stack([photo(32, 32, seed=seed) for seed in range(16)])
    codec = find_codec("jpeg")
    together, apart = search_mosaic(codec, images), search_files(codec, list(images))
    assert together.size(50) < apart.size(50)
    assert together.distortion(50).mse.shape == apart.distortion(50).mse.shape == (16,)


def test_comparisons_say_what_fits() -> None:
    images = np.stack([photo(32, 32, seed=seed) for seed in range(9)])
    codec = find_codec("jpeg")
    whole = search_mosaic(codec, images).size(50)
    fits, starved = compare_mosaic(codec, images, whole), compare_files(codec, list(images), whole)
    assert fits.fits and fits.size_bytes == fits.budget_bytes == whole
    assert not starved.fits and starved.size_bytes > whole
    assert [point.size_bytes for point in fits.curve] == sorted(point.size_bytes for point in fits.curve)
    assert [point.psnr_db for point in fits.curve] == sorted(point.psnr_db for point in fits.curve)
    assert not starved.curve


def test_each_image_gets_its_own_budget() -> None:
    items = [(photo(64, 48), 700), (photo(40, 80, seed=3), 1000)]
    codec = find_codec("jpeg")
    comparison = compare_each(codec, items)
    alone = [search_files(codec, [image]).at_bytes(budget).distortion.psnr_db for image, budget in items]
    assert comparison.size_bytes == comparison.budget_bytes == 1700
    assert comparison.quality.mean_psnr_db == pytest.approx(np.mean(alone))
