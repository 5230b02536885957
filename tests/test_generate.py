"""New images: their size, their progress, and what is refused."""

import numpy as np
import pytest
import torch

from latentpress.autoregressive import IntegerNetwork
from latentpress.cli.train import fit_to_data
from latentpress.config import CausalConfig, CodebookConfig, ConvConfig, ImageConfig, VQVAEConfig, override
from latentpress.config.presets import tiny
from latentpress.data.loading import Pool, load_pool
from latentpress.data.sources import array_source
from latentpress.errors import ConfigError, LatentpressError
from latentpress.generate import generate
from latentpress.model import VQVAE, build


@pytest.fixture(scope="module")
def model() -> VQVAE:
    torch.manual_seed(0)
    conv = ConvConfig(width=32, depths=(0, 1))
    config = VQVAEConfig(
        item=ImageConfig(size=(12, 9)),
        encoder=conv,
        decoder=conv,
        latents=CodebookConfig(codebook_size=16, code_dim=4, num_codebooks=2),
        prior=CausalConfig(width=8, depth=1, radius=2, dilations=(1,)),
    )
    built = build(config).eval()
    assert built.prior is not None
    built.exact_prior = IntegerNetwork.convert(built.prior, torch.randint(16, (2, 3, 3, 2)))
    return built


def pool_of(height: int, width: int) -> Pool:
    return load_pool(array_source(np.zeros((3, height, width, 3), np.uint8)))


def test_progress_counts_codes_to_the_end_and_changes_nothing(model: VQVAE) -> None:
    calls: list[tuple[str, int, int]] = []
    told = generate(model, 5, seed=3, progress=lambda *call: calls.append(call))
    assert told.shape == (5, 12, 9, 3) and np.array_equal(told, generate(model, 5, seed=3))
    codes = 5 * 3 * 3 * 2
    drawn = [done for stage, done, _ in calls if stage == "draw"]
    totals = {total for stage, _, total in calls if stage != "compile"}
    assert drawn == sorted(drawn) and drawn[-1] == codes and totals == {codes}
    assert calls[-1] == ("decode", codes, codes)


def test_many_images_are_decoded_in_order(model: VQVAE, monkeypatch: pytest.MonkeyPatch) -> None:
    together = generate(model, 5, seed=3)
    monkeypatch.setattr("latentpress.generate.codebook._DECODED_PIXELS", 2 * 12 * 9)
    assert np.array_equal(together, generate(model, 5, seed=3))


@pytest.mark.parametrize("size", [(8192, 8192), (0, 5)])
def test_a_size_out_of_range_is_one_line_of_advice(model: VQVAE, size: tuple[int, int]) -> None:
    with pytest.raises(
        ConfigError, match=r"cannot draw an image of \d+ x \d+: .*; give another size \(--size"
    ):
        generate(model, 1, size=size)
    with pytest.raises(ConfigError, match="n at least 1"):
        generate(model, 0)
    with pytest.raises(LatentpressError, match="knows no classes"):
        generate(model, 1, label="cat")


@pytest.mark.parametrize(
    ("pictures", "changes", "size"),
    [
        ((3000, 2000), {}, (192, 192)),
        ((100, 2000), {"prior.crop": "256"}, (100, 256)),
        ((3000, 2000), {"model.prior.training": "joint"}, (64, 64)),
        ((3000, 2000), {"model.item.size": "[1024, 512]"}, (1024, 512)),
    ],
)
def test_the_usual_size_is_one_that_the_prior_was_trained_on(
    pictures: tuple[int, int], changes: dict[str, str], size: tuple[int, int]
) -> None:
    assert fit_to_data(tiny(), pool_of(*pictures), changes).model.item.size == size


def test_a_size_in_the_configuration_stays() -> None:
    base = override(tiny(), {"model.item.size": [40, 50]})
    assert fit_to_data(base, pool_of(30, 30), {}).model.item.size == (40, 50)


def test_a_completion_keeps_what_is_given_and_draws_the_rest(model: VQVAE) -> None:
    given = generate(model, 1, seed=9)[0, :9]  # two whole rows of positions and a row of pixels
    images = generate(model, 4, seed=1, given=given)
    assert images.shape == (4, 12, 9, 3)
    assert all(np.array_equal(image[:9], given) for image in images)
    assert len({image[9:].tobytes() for image in images}) > 1
    assert np.array_equal(images, generate(model, 4, seed=1, given=given))


def test_a_completion_of_everything_is_what_was_given(model: VQVAE) -> None:
    whole = generate(model, 1, seed=9)[0]
    assert np.array_equal(generate(model, 2, given=whole), np.stack([whole, whole]))


@pytest.mark.parametrize("shape", [(5, 8, 3), (13, 9, 3), (0, 9, 3), (5, 9, 1)])
def test_what_is_given_has_to_fit(model: VQVAE, shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="cannot begin with pixels of shape"):
        generate(model, 1, given=np.zeros(shape, np.uint8))


@pytest.mark.parametrize("wrong", [{"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.1}])
def test_drawing_from_nothing_is_refused(model: VQVAE, wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="top_k not negative and top_p up to 1"):
        generate(model, 1, **wrong)  # type: ignore[arg-type]
