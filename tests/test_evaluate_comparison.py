"""Laws of the search for equal bytes, with real codecs and with one whose sizes are known."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from latentpress.errors import ConfigError
from latentpress.evaluate.comparison import (
    SMALL_POSITIONS,
    Comparison,
    Search,
    choose,
    compare_at_bytes,
    compare_lossless,
)
from latentpress.items import Image, Text
from latentpress.items.base import Baseline, LossyBaseline

IMAGE = Image()
CODECS = {codec.name: codec for codec in IMAGE.lossy_baselines()}


def photo(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """A smooth picture with edges, which all codecs handle as they do photographs."""
    rows, columns = np.mgrid[0:height, 0:width] / 9.0
    waves = [np.sin(rows * (1 + k) + seed) * np.cos(columns - k) + (rows > columns) for k in range(channels)]
    return np.clip(100 + 50 * np.stack(waves, -1), 0, 255).astype(np.uint8)


def files(codec: LossyBaseline, images: list[np.ndarray]) -> Search:
    return Search(IMAGE, codec, images)


def quiet(name: str, done: int) -> None:
    pass


def at_bytes(
    codecs: list[str], images: list[np.ndarray], shares: list[float], size: int
) -> tuple[Comparison, ...]:
    chosen = choose(IMAGE.lossy_baselines(), codecs)
    return compare_at_bytes(IMAGE, chosen, lambda: images, shares, size, quiet)


def ruler() -> Search:
    """A codec of 100 * 2**(quality / 10) bytes whose error halves every third setting."""
    flat = np.zeros((4, 4, 1), np.uint8)

    def encode(samples: np.ndarray, quality: int) -> bytes:
        return quality.to_bytes(1, "big") + bytes(round(100 * 2 ** (quality / 10)) - 1)

    def decode(data: bytes, like: np.ndarray) -> np.ndarray:
        return like + np.uint8(2 ** (data[0] // 10))

    return Search(IMAGE, LossyBaseline("ruler", 0, 60, encode, decode), [flat])


@given(st.integers(101, 6399))
def test_search_interpolates_linearly_in_log_bytes(budget: int) -> None:
    search = ruler()
    size, found = search.at_bytes(budget)
    above = next(quality for quality in range(61) if search.size(quality) >= budget)
    smaller, larger = search.size(above - 1), search.size(above)
    share = math.log(budget / smaller) / math.log(larger / smaller)
    psnr = [float(search.distortion(quality).psnr_db[0]) for quality in (above - 1, above)]
    assert size == budget and smaller < budget <= larger
    assert found.psnr_db[0] == pytest.approx((1 - share) * psnr[0] + share * psnr[1])


@pytest.mark.parametrize(("budget", "size", "error"), [(1, 100, 1), (100, 100, 1), (10**6, 6400, 64)])
def test_search_ends_at_the_codecs_limits(budget: int, size: int, error: int) -> None:
    found = ruler().at_bytes(budget)
    assert found[0] == size and found[1].mse.tolist() == [error**2]


@pytest.mark.parametrize("name", CODECS)
def test_real_sizes_enclose_the_budget(name: str) -> None:
    pixels, codec = photo(64, 64), CODECS[name]
    budget = (len(codec.encode(pixels, 20)) + len(codec.encode(pixels, 80))) // 2
    search = files(codec, [pixels])
    size, found = search.at_bytes(budget)
    best, worst = (search.distortion(quality).mse[0] for quality in (80, 20))
    assert size == budget and best < found.mse[0] < worst


def test_codecs_are_chosen_by_the_first_word_of_their_names() -> None:
    there = Text().lossless_baselines()
    assert choose(there, None) == there and choose(there, []) == ()
    assert [codec.name for codec in choose(there, ["xz"])] == ["xz -9e"]
    assert choose(there, ["xz -9e"]) == choose(there, ["xz"])
    with pytest.raises(ConfigError, match=r"no codec 'gif'.*jpeg.*latentpress\[bench\]"):
        choose(IMAGE.lossy_baselines(), ["jpeg", "gif"])


def test_small_images_of_one_size_are_compared_joined_and_as_files() -> None:
    images = [photo(32, 32, seed=seed) for seed in range(9)]
    size = len(CODECS["jpeg"].encode(IMAGE.join(images).samples, 50))  # type: ignore[union-attr]
    fits, starved = at_bytes(["jpeg"], images, [size / 9] * 9, size)
    assert (fits.layout, starved.layout) == ("mosaic", "files")
    assert fits.fits and fits.size_bytes == fits.budget_bytes == size
    assert not starved.fits and starved.size_bytes > size
    assert [point.size_bytes for point in fits.curve] == sorted(point.size_bytes for point in fits.curve)
    assert [point.psnr_db for point in fits.curve] == sorted(point.psnr_db for point in fits.curve)
    assert not starved.curve


def test_other_images_get_their_own_budgets() -> None:
    images = [photo(64, 48), photo(40, 80, seed=3)]
    (found,) = at_bytes(["jpeg"], images, [700.2, 999.9], 1750)
    alone = [
        files(CODECS["jpeg"], [i]).at_bytes(b)[1].psnr_db for i, b in zip(images, (700, 1000), strict=True)
    ]
    assert found.layout == "each" and found.size_bytes == found.budget_bytes == 1700
    assert found.quality is not None and found.quality.mean_psnr_db == pytest.approx(np.mean(alone))


def test_large_images_of_one_size_are_not_joined() -> None:
    side = math.isqrt(SMALL_POSITIONS)
    for sides, layouts in (((side, side), ["mosaic", "files"]), ((side, side + 1), ["each"])):
        found = at_bytes(["jpeg"], [photo(*sides)] * 2, [9000, 9000], 18000)
        assert [each.layout for each in found] == layouts


def test_progress_names_the_codecs() -> None:
    said: list[tuple[str, int]] = []
    codecs = choose(IMAGE.lossy_baselines(), ["jpeg", "webp"])
    compare_at_bytes(IMAGE, codecs, lambda: [photo(20, 20)], [500], 500, lambda *call: said.append(call))
    assert said == [("jpeg", 0), ("webp", 1)]


def test_lossless_sizes_are_those_of_real_files() -> None:
    images = [photo(8, 8, seed=seed) for seed in range(5)]
    found = compare_lossless(IMAGE, IMAGE.lossless_baselines(), lambda: images, quiet)
    sizes = {(each.codec, each.layout): each.size_bytes for each in found}
    total = 0
    for image in images:
        file = io.BytesIO()
        Pillow.fromarray(image).save(file, "PNG", optimize=True)
        total += len(file.getvalue())
    assert sizes["png", "files"] == total
    assert sizes["webp", "mosaic"] < sizes["webp", "files"] and sizes["png", "mosaic"] < sizes["png", "files"]
    assert all(each.fits and each.quality is None for each in found)


def test_texts_are_compared_as_files_and_as_a_tar() -> None:
    texts = [np.frombuffer(b"again and again " * n, np.uint8)[:, None] for n in (1, 40, 3)]
    found = compare_lossless(Text(), choose(Text().lossless_baselines(), ["xz"]), lambda: texts, quiet)
    assert [(each.codec, each.layout) for each in found] == [("xz -9e", "files"), ("xz -9e", "tar")]


def test_a_single_item_and_mixed_sizes_are_not_joined() -> None:
    for images in ([photo(8, 8)], [photo(8, 8), photo(8, 9)]):
        found = compare_lossless(IMAGE, IMAGE.lossless_baselines(), lambda images=images: images, quiet)
        assert {each.layout for each in found} == {"files"}
    assert compare_lossless(IMAGE, (), lambda: [], quiet) == ()


def test_a_first_word_chooses_every_codec_that_has_it() -> None:
    plain, primed, other = (Baseline(name, bytes) for name in ("zstd -19", "zstd -19 primed", "xz -9e"))
    assert choose((plain, primed, other), ["zstd"]) == (plain, primed)
    assert choose((plain, primed, other), ["xz", "zstd -19"]) == (other, plain)
    assert choose((plain, primed, other), ["zstd -19 primed", "zstd"]) == (primed, plain)
