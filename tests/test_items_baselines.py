"""Codecs to compare with: bytes like those of their files, and items side by side."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentpress.items import Image, Text, image_codecs, text_codecs
from latentpress.items.image_codecs import mosaic


def photo(height, width, channels=3, seed=0):
    """A smooth picture with edges, which all codecs handle as they do photographs."""
    rows, columns = np.mgrid[0:height, 0:width] / 9.0
    waves = [np.sin(rows * (1 + k) + seed) * np.cos(columns - k) + (rows > columns) for k in range(channels)]
    return np.clip(100 + 50 * np.stack(waves, -1), 0, 255).astype(np.uint8)


@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 5), st.sampled_from([1, 3]))
def test_a_mosaic_is_split_into_its_images(count, height, width, channels):
    images = np.random.default_rng(count).integers(0, 256, (count, height, width, channels), np.uint8)
    joined = mosaic(list(images))
    assert joined is not None and joined.layout == "mosaic"
    np.testing.assert_array_equal(joined.split(joined.samples), images)
    np.testing.assert_array_equal(joined.samples[:height, :width], images[0])
    assert joined.samples[..., 0].size < (math.isqrt(count) + 1) ** 2 * height * width + 1


def test_images_that_make_no_mosaic():
    assert mosaic([photo(3, 4), photo(4, 3)]) is None
    assert mosaic([photo(3, 4), photo(3, 4, channels=1)]) is None
    assert mosaic([np.zeros((8192, 1, 1), np.uint8)] * 4) is None  # too large for WebP
    assert mosaic([np.zeros((8191, 1, 1), np.uint8)] * 4) is not None


@given(st.lists(st.binary(max_size=600), min_size=1, max_size=5))
def test_a_tar_archive_is_split_into_its_texts(texts):
    joined = Text().join([np.frombuffer(text, np.uint8)[:, None] for text in texts])
    assert joined is not None and joined.layout == "tar"
    assert joined.samples.shape[1:] == (1,)
    assert [part.tobytes() for part in joined.split(joined.samples)] == texts


@pytest.mark.parametrize("channels", [1, 3])
def test_a_mosaic_costs_less_than_files_for_small_images(channels):
    item, images = Image(channels=channels), [photo(32, 32, channels, seed) for seed in range(16)]
    joined = item.join(images)
    assert joined is not None
    for baseline in item.lossless_baselines():
        assert len(baseline.pack(joined.samples)) < sum(len(baseline.pack(image)) for image in images)
    for baseline in item.lossy_baselines():
        together = baseline.encode(joined.samples, 50)
        assert len(together) < sum(len(baseline.encode(image, 50)) for image in images)
        errors = [
            np.abs(part.astype(int) - image).mean()
            for part, image in zip(
                joined.split(baseline.decode(together, joined.samples)), images, strict=True
            )
        ]
        assert max(errors) < 12, baseline.name


@pytest.mark.parametrize("channels", [1, 3])
def test_lossless_images_are_restored_by_pillow(channels):
    import io

    import PIL.Image

    pixels = photo(20, 30, channels)
    for baseline in Image(channels=channels).lossless_baselines():
        with PIL.Image.open(io.BytesIO(baseline.pack(pixels))) as image:
            restored = np.asarray(image.convert("L" if channels == 1 else "RGB"))
        assert np.array_equal(restored.reshape(pixels.shape), pixels), baseline.name


def test_which_codecs_there_are():
    assert [each.name for each in Image().lossless_baselines()][:2] == ["png", "webp"]
    assert [each.name for each in Image().lossy_baselines()][:2] == ["jpeg", "webp"]
    assert Text().lossless_baselines()[0].name == "xz -9e" and Text().lossy_baselines() == ()


def test_what_is_not_installed_is_not_there(monkeypatch):
    for module in (image_codecs, text_codecs):
        monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert [each.name for each in Text().lossless_baselines()] == ["xz -9e"]
    assert "jxl" not in [each.name for each in (*Image().lossless_baselines(), *Image().lossy_baselines())]
