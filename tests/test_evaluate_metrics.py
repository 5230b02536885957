"""Laws of the distortion measures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.metrics import structural_similarity

from latentpress.evaluate.metrics import (
    MS_SSIM_MIN_SIDE,
    SSIM_MIN_SIDE,
    distortion,
    distortion_each,
    interpolate,
    join,
    mean_squared_error,
    ms_ssim,
    psnr,
    ssim,
)


def images(count: int, height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Smooth random images: a coarse grid of noise, enlarged."""
    coarse = np.random.default_rng(seed).integers(
        0, 256, (count, -(-height // 4), -(-width // 4), channels), np.uint8
    )
    return coarse.repeat(4, axis=1).repeat(4, axis=2)[:, :height, :width]


def noisy(pixels: np.ndarray, scale: float, seed: int = 1) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, scale, pixels.shape)
    return np.clip(pixels + noise, 0, 255).round().astype(np.uint8)


@given(st.integers(0, 255), st.integers(0, 255))
def test_error_of_flat_images_is_the_square_of_their_difference(first: int, second: int) -> None:
    a, b = (np.full((2, 5, 7, 3), value, np.uint8) for value in (first, second))
    assert mean_squared_error(a, b).tolist() == [(first - second) ** 2] * 2


def test_error_is_symmetric_and_does_not_wrap_around() -> None:
    a, b = images(3, 16, 16), images(3, 16, 16, seed=5)
    expected = ((a.astype(float) - b.astype(float)) ** 2).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(mean_squared_error(a, b), expected)
    np.testing.assert_array_equal(mean_squared_error(a, b), mean_squared_error(b, a))


def test_pooled_psnr_is_that_of_the_mean_error_and_not_above_the_mean_psnr() -> None:
    a = images(2, 16, 16)
    b = np.stack([noisy(a[0], 2), noisy(a[1], 30)])
    quality = distortion(a, b).summary()
    assert quality.psnr_db == pytest.approx(float(psnr(mean_squared_error(a, b).mean())))
    assert quality.mean_psnr_db == pytest.approx(float(psnr(mean_squared_error(a, b)).mean()))
    assert quality.psnr_db < quality.mean_psnr_db


def test_pooling_weighs_images_by_their_size() -> None:
    small, large = images(1, 16, 16), images(1, 32, 32)
    parts = [distortion(small, noisy(small, 40)), distortion(large, noisy(large, 4))]
    expected = (parts[0].mse[0] + 4 * parts[1].mse[0]) / 5
    assert join(parts).summary().psnr_db == pytest.approx(float(psnr(expected)))


def test_identical_images_are_perfect() -> None:
    a = images(2, 32, 32)
    quality = distortion(a, a).summary()
    assert quality.psnr_db == quality.mean_psnr_db == np.inf
    assert quality.ssim == pytest.approx(1)


def test_ssim_agrees_with_another_implementation() -> None:
    # scikit-image leaves out a border of 5 pixels, torchmetrics mirrors the image there: mirror it for both
    a = images(1, 96, 80, channels=1)
    b = noisy(a, 20)
    mirrored = [np.pad(image[0, ..., 0], 5, mode="reflect") for image in (a, b)]
    theirs = structural_similarity(
        *mirrored, gaussian_weights=True, use_sample_covariance=False, data_range=255
    )
    assert ssim(a, b)[0] == pytest.approx(theirs, abs=1e-5)


def test_more_noise_is_less_similar() -> None:
    a = images(1, 192, 176)
    scores = [(ssim(a, noisy(a, scale))[0], ms_ssim(a, noisy(a, scale))[0]) for scale in (2, 10, 40)]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score < 1 for pair in scores for score in pair)


@pytest.mark.parametrize(("measure", "side"), [(ssim, SSIM_MIN_SIDE), (ms_ssim, MS_SSIM_MIN_SIDE)])
def test_similarity_starts_exactly_at_its_smallest_side(measure, side: int) -> None:
    fits, too_small = images(1, side, side + 3, 1), images(1, side + 3, side - 1, 1)
    assert np.isfinite(measure(fits, noisy(fits, 5))).all()
    assert np.isnan(measure(too_small, too_small)).all()


def test_summary_has_none_where_nothing_fits() -> None:
    tiny = images(2, 8, 8)
    quality = distortion(tiny, noisy(tiny, 3)).summary()
    assert quality.ssim is None and quality.ms_ssim is None


def test_batching_does_not_change_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    a = images(5, 32, 32)
    whole = distortion(a, noisy(a, 9))
    monkeypatch.setattr("latentpress.evaluate.metrics._BATCH_SAMPLES", 2 * 32 * 32 * 3)
    pieces = distortion(a, noisy(a, 9))
    np.testing.assert_array_equal(whole.mse, pieces.mse)
    np.testing.assert_allclose(whole.ssim, pieces.ssim, rtol=1e-5)


def test_images_of_several_sizes_keep_their_order() -> None:
    originals = [*images(2, 16, 16), *images(1, 12, 20), *images(1, 16, 16)]
    restored = [noisy(image, 3 * (index + 1)) for index, image in enumerate(originals)]
    measured = distortion_each(originals, restored)
    one_by_one = [mean_squared_error(a[None], b[None])[0] for a, b in zip(originals, restored, strict=True)]
    assert measured.mse.tolist() == one_by_one
    assert measured.samples.tolist() == [image.size for image in originals]


def test_interpolation_is_linear_in_psnr() -> None:
    a = images(2, 32, 32)
    first, second = distortion(a, noisy(a, 20)), distortion(a, noisy(a, 5))
    between = interpolate(first, second, 0.25)
    np.testing.assert_allclose(between.psnr_db, 0.75 * first.psnr_db + 0.25 * second.psnr_db)
    np.testing.assert_allclose(between.ssim, 0.75 * first.ssim + 0.25 * second.ssim)
    np.testing.assert_allclose(interpolate(first, second, 1).psnr_db, second.psnr_db)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 8, 9, 3), np.uint8)),
        (np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 3), np.uint8)),
        (np.zeros((1, 8, 8, 3)), np.zeros((1, 8, 8, 3))),
        (np.zeros((0, 8, 8, 3), np.uint8), np.zeros((0, 8, 8, 3), np.uint8)),
    ],
)
def test_what_cannot_be_compared_is_refused(a: np.ndarray, b: np.ndarray) -> None:
    with pytest.raises(ValueError):
        distortion(a, b)
