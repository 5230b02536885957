"""An evaluation's figures follow from one another and from the archive."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from latentpress.evaluate.metrics import distortion
from latentpress.evaluate.rates import prior_nats, reconstruction_nats

from latentpress.config import CausalConfig, CodebookConfig, ConvConfig, GaussianConfig, VQVAEConfig
from latentpress.data import ItemRef, Source, array_source
from latentpress.errors import ConfigError, ItemError
from latentpress.evaluate import CodeStatistics, Evaluation, evaluate
from latentpress.latents import CodeUsage
from latentpress.model import VQVAE, build
from latentpress.press import encode_archive

SIZES = [(16, 20), (24, 12), (16, 20), (9, 30)]


def small_model(prior: CausalConfig | None = None, labels: tuple[str, ...] = ()) -> VQVAE:
    torch.manual_seed(3)
    conv = ConvConfig(width=32, depths=(0, 1))
    latents = CodebookConfig(codebook_size=16, code_dim=4, num_codebooks=2)
    likelihood = GaussianConfig(scale=0.5)
    config = VQVAEConfig(
        encoder=conv, decoder=conv, latents=latents, likelihood=likelihood, prior=prior, labels=labels
    )
    return build(config).eval()


def pictures(sizes: list[tuple[int, int]]) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    coarse = [generator.integers(0, 256, (-(-h // 4), -(-w // 4), 3), np.uint8) for h, w in sizes]
    enlarged = [image.repeat(4, axis=0).repeat(4, axis=1) for image in coarse]
    return [image[:h, :w] for image, (h, w) in zip(enlarged, sizes, strict=True)]


def as_source(images: list[np.ndarray]) -> Source:
    def item(number: int, pixels: np.ndarray) -> ItemRef:
        return ItemRef(f"set/{number:02}.png", None, lambda: pixels)

    return Source(tuple(item(number, pixels) for number, pixels in enumerate(images)))


@pytest.fixture(scope="module")
def model() -> VQVAE:
    return small_model()


@pytest.fixture(scope="module")
def mixed(model: VQVAE) -> Evaluation:
    return evaluate(model, as_source(pictures(SIZES)), against=["jpeg"])


def test_counts_of_items_pixels_and_samples(mixed: Evaluation) -> None:
    assert (mixed.num_items, mixed.num_pixels) == (4, sum(h * w for h, w in SIZES))
    assert mixed.num_dims == 3 * mixed.num_pixels
    assert mixed.bits_per_pixel == pytest.approx(3 * mixed.bits_per_dim)
    assert mixed.bytes_per_item * 4 == mixed.archive_bytes


def test_bytes_are_those_of_a_real_archive(model: VQVAE, mixed: Evaluation) -> None:
    named = {f"set/{number:02}.png": image for number, image in enumerate(pictures(SIZES))}
    assert mixed.archive_bytes == len(encode_archive(model, named))


def test_items_keep_the_order_of_the_source(model: VQVAE, mixed: Evaluation) -> None:
    assert [(item.height, item.width) for item in mixed.items] == SIZES
    for item, original in zip(mixed.items, pictures(SIZES), strict=True):
        restored = model.decode(model.encode(original[None]), size=original.shape[:2])
        assert item.psnr_db == pytest.approx(distortion(original[None], restored).psnr_db[0])


def test_shares_add_up_to_the_archive(mixed: Evaluation) -> None:
    assert sum(item.size_bytes for item in mixed.items) == pytest.approx(mixed.archive_bytes)


def test_without_a_prior_a_code_costs_log_k(model: VQVAE, mixed: Evaluation) -> None:
    symbols = sum(-(-h // 4) * -(-w // 4) * 2 for h, w in SIZES)
    assert mixed.prior_bytes == pytest.approx(symbols * math.log2(16) / 8)
    assert sum(map(sum, mixed.codes.counts)) == symbols


def test_model_bits_are_codes_and_pixels_together(model: VQVAE) -> None:
    image = pictures([(16, 20)])[0]
    codes = model.encode(image[None])
    nats = float(prior_nats(model, codes) + reconstruction_nats(model, image[None], codes))
    measured = evaluate(model, as_source([image]), against=[])
    assert measured.model_bits_per_dim == pytest.approx(nats / (image.size * math.log(2)))


def test_the_prior_s_cost_is_that_of_the_archive_s_bands() -> None:
    model = small_model(CausalConfig(width=8, depth=1, radius=2, embedding=4, head_width=8))
    codes = torch.randint(16, (1, 65, 65, 2))  # more than 4096 positions: cut in two
    assert model.prior is not None
    for parameter in model.prior.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    with torch.inference_mode():
        bands = sum(model.prior.nll_nats(band.contiguous()).double() for band in codes.split(33, dim=1))
        whole = model.prior.nll_nats(codes).double()
    torch.testing.assert_close(prior_nats(model, codes), bands, rtol=1e-6, atol=0)
    assert not torch.allclose(whole, bands, rtol=1e-5)


def test_reconstruction_in_tiles_equals_one_piece(model: VQVAE, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.stack(pictures([(70, 46)]))
    codes = model.encode(image)
    whole = reconstruction_nats(model, image, codes)
    monkeypatch.setattr("latentpress.evaluate.rates._TILE", 5)
    torch.testing.assert_close(reconstruction_nats(model, image, codes), whole)


def test_batches_do_not_change_the_figures(model: VQVAE, monkeypatch: pytest.MonkeyPatch) -> None:
    source = as_source(pictures([(16, 16)] * 5))
    whole = evaluate(model, source, against=[])
    monkeypatch.setattr("latentpress.evaluate.evaluation._BATCH_PIXELS", 2 * 16 * 16)
    pieces = evaluate(model, source, against=[])
    assert pieces.quality.psnr_db == pytest.approx(whole.quality.psnr_db)
    assert pieces.codes == whole.codes and pieces.archive_bytes == whole.archive_bytes


def test_small_images_are_compared_as_mosaic_and_files(model: VQVAE) -> None:
    measured = evaluate(model, as_source(pictures([(32, 32)] * 4)), against=["jpeg", "webp"])
    assert [(each.codec, each.layout) for each in measured.comparisons] == [
        ("jpeg", "mosaic"),
        ("jpeg", "files"),
        ("webp", "mosaic"),
        ("webp", "files"),
    ]
    assert all(each.budget_bytes == measured.archive_bytes for each in measured.comparisons)


def test_mixed_sizes_are_compared_each_at_its_bytes(mixed: Evaluation) -> None:
    (comparison,) = mixed.comparisons
    assert comparison.layout == "each"
    assert comparison.budget_bytes == sum(round(item.size_bytes) for item in mixed.items)
    assert mixed.gain_db(comparison) == mixed.quality.psnr_db - comparison.quality.psnr_db


def test_prior_sees_the_class_and_is_told_where_it_is_unknown() -> None:
    config = CausalConfig(width=8, depth=1, radius=2, embedding=4, head_width=8, class_conditional=True)
    model = small_model(config, labels=("cat", "dog"))
    images = np.stack(pictures([(16, 16)] * 2))
    codes = model.encode(images)
    known, unknown = (
        prior_nats(model, codes, torch.tensor([0, 1])),
        prior_nats(model, codes, torch.tensor([-1, -1])),
    )
    assert known.shape == (2,) and bool((known > 0).all())
    torch.testing.assert_close(prior_nats(model, codes), unknown)


def test_json_is_strict_and_holds_the_derived_figures(model: VQVAE, mixed: Evaluation) -> None:
    tree = json.loads(mixed.to_json(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert tree["archive_bytes"] == mixed.archive_bytes
    assert tree["overhead"] == mixed.overhead
    assert tree["quality"]["ms_ssim"] is None
    assert tree["comparisons"][0]["gain_db"] == mixed.gain_db(mixed.comparisons[0])
    assert len(tree["items"]) == 4


def test_code_statistics_of_even_and_collapsed_codebooks() -> None:
    even = CodeStatistics.of(CodeUsage(torch.full((2, 64), 100)))
    assert even.usage == 1 and even.perplexity == pytest.approx(64) and even.warning is None
    collapsed = CodeStatistics.of(CodeUsage(torch.tensor([[6400] + [0] * 63])))
    assert collapsed.usage == 1 / 64 and collapsed.perplexity == pytest.approx(1)
    assert collapsed.warning is not None and "collapsed" in collapsed.warning


def test_progress_reaches_its_end(model: VQVAE) -> None:
    calls: list[tuple[str, int, int]] = []
    evaluate(
        model,
        array_source(np.zeros((3, 16, 16, 3), np.uint8)),
        against=[],
        progress=lambda *x: calls.append(x),
    )
    assert ("measure", 3, 3) in calls


def test_users_errors_are_told(model: VQVAE) -> None:
    with pytest.raises(ItemError, match="no image"):
        evaluate(model, Source(()))
    with pytest.raises(ConfigError, match="no codec 'gif'"):
        evaluate(model, as_source(pictures(SIZES)), against=["gif"])
