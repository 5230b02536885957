"""Laws of the distortion measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.metrics import structural_similarity

from latentpress.evaluate.quality import (
    MS_SSIM_MIN_SIDE,
    SSIM_MIN_SIDE,
    Distortion,
    distortion,
    distortion_each,
    interpolate,
    join,
    psnr,
)
from latentpress.items import Image, Text
from small.toy import Toy

IMAGE = Image()


@dataclass(frozen=True, kw_only=True)
class Signal(Text):
    """Numbers along one axis."""

    axes: ClassVar[tuple[str, ...]] = ("sample",)
    ordinal: ClassVar[bool] = True


def images(count: int, height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Smooth random images: a coarse grid of noise, enlarged."""
    coarse = np.random.default_rng(seed).integers(
        0, 256, (count, -(-height // 4), -(-width // 4), channels), np.uint8
    )
    return coarse.repeat(4, axis=1).repeat(4, axis=2)[:, :height, :width]


def measured(name: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return distortion(IMAGE, a, b).measures[name]


def mean_squared_error(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return distortion(IMAGE, a, b).mse


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
    quality = distortion(IMAGE, a, b).summary()
    assert quality.psnr_db == pytest.approx(float(psnr(mean_squared_error(a, b).mean(), 255)))
    assert quality.mean_psnr_db == pytest.approx(float(psnr(mean_squared_error(a, b), 255).mean()))
    assert quality.psnr_db < quality.mean_psnr_db


def test_pooling_weighs_images_by_their_size() -> None:
    small, large = images(1, 16, 16), images(1, 32, 32)
    parts = [distortion(IMAGE, small, noisy(small, 40)), distortion(IMAGE, large, noisy(large, 4))]
    expected = (parts[0].mse[0] + 4 * parts[1].mse[0]) / 5
    assert join(parts).summary().psnr_db == pytest.approx(float(psnr(expected, 255)))


def test_identical_images_are_perfect() -> None:
    a = images(2, 32, 32)
    quality = distortion(IMAGE, a, a).summary()
    assert quality.psnr_db == quality.mean_psnr_db == np.inf
    assert quality.measures["ssim"] == pytest.approx(1)


def test_ssim_agrees_with_another_implementation() -> None:
    # scikit-image leaves out a border of 5 pixels, torchmetrics mirrors the image there: mirror it for both
    a = images(1, 96, 80, channels=1)
    b = noisy(a, 20)
    mirrored = [np.pad(image[0, ..., 0], 5, mode="reflect") for image in (a, b)]
    theirs = structural_similarity(
        *mirrored, gaussian_weights=True, use_sample_covariance=False, data_range=255
    )
    assert measured("ssim", a, b)[0] == pytest.approx(theirs, abs=1e-5)


def test_more_noise_is_less_similar() -> None:
    a = images(1, 192, 176)
    scores = [
        tuple(measured(name, a, noisy(a, scale))[0] for name in ("ssim", "ms_ssim")) for scale in (2, 10, 40)
    ]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score < 1 for pair in scores for score in pair)


@pytest.mark.parametrize(("name", "side"), [("ssim", SSIM_MIN_SIDE), ("ms_ssim", MS_SSIM_MIN_SIDE)])
def test_similarity_starts_exactly_at_its_smallest_side(name: str, side: int) -> None:
    fits, too_small = images(1, side, side + 3, 1), images(1, side + 3, side - 1, 1)
    assert np.isfinite(measured(name, fits, noisy(fits, 5))).all()
    assert np.isnan(measured(name, too_small, too_small)).all()


def test_a_summary_leaves_out_what_fits_nothing() -> None:
    tiny = images(2, 8, 8)
    quality = distortion(IMAGE, tiny, noisy(tiny, 3)).summary()
    assert not quality.measures


def test_batching_does_not_change_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    a = images(5, 32, 32)
    whole = distortion(IMAGE, a, noisy(a, 9))
    monkeypatch.setattr("latentpress.evaluate.quality._BATCH_SAMPLES", 2 * 32 * 32 * 3)
    pieces = distortion(IMAGE, a, noisy(a, 9))
    np.testing.assert_array_equal(whole.mse, pieces.mse)
    np.testing.assert_allclose(whole.measures["ssim"], pieces.measures["ssim"], rtol=1e-5)


def test_images_of_several_sizes_keep_their_order() -> None:
    originals = [*images(2, 16, 16), *images(1, 12, 20), *images(1, 16, 16)]
    restored = [noisy(image, 3 * (index + 1)) for index, image in enumerate(originals)]
    measured = distortion_each(IMAGE, originals, restored)
    one_by_one = [mean_squared_error(a[None], b[None])[0] for a, b in zip(originals, restored, strict=True)]
    assert measured.mse.tolist() == one_by_one
    assert measured.samples.tolist() == [image.size for image in originals]


def test_interpolation_is_linear_in_psnr() -> None:
    a = images(2, 32, 32)
    first, second = distortion(IMAGE, a, noisy(a, 20)), distortion(IMAGE, a, noisy(a, 5))
    between = interpolate(first, second, 0.25)
    np.testing.assert_allclose(between.psnr_db, 0.75 * first.psnr_db + 0.25 * second.psnr_db)
    ssim = [each.measures["ssim"] for each in (first, second, between)]
    np.testing.assert_allclose(ssim[2], 0.75 * ssim[0] + 0.25 * ssim[1])
    np.testing.assert_allclose(interpolate(first, second, 1).psnr_db, second.psnr_db)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 8, 9, 3), np.uint8)),
        (np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8)),
        (np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 8, 8, 3), np.uint16)),
        (np.zeros((1, 8, 8, 3)), np.zeros((1, 8, 8, 3))),
        (np.zeros((0, 8, 8, 3), np.uint8), np.zeros((0, 8, 8, 3), np.uint8)),
    ],
)
def test_what_cannot_be_compared_is_refused(a: np.ndarray, b: np.ndarray) -> None:
    with pytest.raises(ValueError):
        mean_squared_error(a, b)


def test_which_measures_there_are_follows_from_the_item() -> None:
    bytes_ = np.zeros((1, 40, 1), np.uint8)
    assert not distortion(Text(), bytes_, bytes_).measures
    assert set(distortion(Signal(), bytes_, bytes_).measures) == {"si_snr_db"}


def test_films_are_as_similar_as_their_pictures() -> None:
    films = images(4, 16, 24, channels=1).reshape(2, 2, 16, 24, 1).astype(np.uint16) * 257
    other = noisy(films // 257, 20).astype(np.uint16) * 257
    found = distortion(Toy(), films, other)
    grey = Image(channels=1)
    frames = distortion(
        grey, *(np.reshape(x // 257, (4, 16, 24, 1)).astype(np.uint8) for x in (films, other))
    )
    np.testing.assert_allclose(
        found.measures["ssim"], frames.measures["ssim"].reshape(2, 2).mean(1), atol=1e-5
    )
    np.testing.assert_allclose(found.psnr_db, psnr(frames.mse.reshape(2, 2).mean(1), 255))
    assert found.samples.tolist() == [2 * 16 * 24] * 2


def test_si_snr_is_that_of_its_definition_and_of_no_scale() -> None:
    rng = np.random.default_rng(0)
    clean = rng.integers(40, 216, (2, 500, 1)).astype(np.uint8)
    noise = rng.integers(-9, 9, clean.shape)
    found = distortion(Signal(), clean, (clean + noise).astype(np.uint8)).measures["si_snr_db"]
    for a, b, value in zip(
        clean[..., 0].astype(float), (clean + noise)[..., 0].astype(float), found, strict=True
    ):
        a, b = a - a.mean(), b - b.mean()
        target = (a @ b) / (a @ a) * a
        assert value == pytest.approx(10 * np.log10((target @ target) / ((b - target) @ (b - target))))
    half = distortion(Signal(), clean // 2 * 2, clean // 2).measures["si_snr_db"]
    assert (half > 60).all()


def test_nothing_is_said_of_a_constant_signal() -> None:
    flat = np.full((1, 50, 1), 7, np.uint8)
    found = distortion(Signal(), flat, flat + 1)
    assert np.isnan(found.measures["si_snr_db"]).all() and not found.summary().measures


def test_items_are_joined_in_any_order() -> None:
    a = images(3, 16, 16)
    found = distortion(IMAGE, a, noisy(a, 9))
    turned = join([found], [2, 0])
    assert isinstance(turned, Distortion) and turned.mse.tolist() == found.mse[[2, 0]].tolist()
    assert turned.measures["ssim"].tolist() == found.measures["ssim"][[2, 0]].tolist()
