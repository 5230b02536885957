"""New items: laws for every model and kind, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from latentpress import generate as generating
from latentpress.config import LabelConfig
from latentpress.errors import ConfigError, LatentpressError
from latentpress.exact.distribution import Sampling
from latentpress.generate import generate
from latentpress.items import Image, Text
from latentpress.model import Model, build
from small.configs import delta_vae, vq_vae
from small.items import samples_of
from small.models import MODELS, finished, jolted, small_model

KINDS = ("colour", "text", "toy")


@pytest.fixture(scope="module", params=[(case, kind) for case in MODELS for kind in KINDS], ids="-".join)
def model(request: pytest.FixtureRequest) -> Model:
    return small_model(*request.param)


def test_one_seed_gives_the_same_items_and_others_others(model: Model) -> None:
    size = (*(model.item.size or ()), model.item.channels)
    first, again, other = (generate(model, 3, how=Sampling(seed=seed)) for seed in (5, 5, 6))
    assert first.shape == (3, *size) and first.dtype == model.item.dtype
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert len({item.tobytes() for item in first}) > 1


def test_an_item_does_not_depend_on_how_many_are_drawn(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    five = generate(model, 5).astype(np.int64)
    one = 0 if model.stochastic else max(1, model.item.levels >> 12)  # float32 rounds by batches
    assert np.abs(generate(model, 2) - five[:2]).max() <= one
    monkeypatch.setattr(generating, "_DECODED_POSITIONS", 2 * int(np.prod(model.item.size)))
    assert np.abs(generate(model, 5) - five).max() <= one


def test_progress_counts_symbols_to_the_end_and_changes_nothing(model: Model) -> None:
    calls: list[tuple[str, int, int]] = []
    items = generate(model, 4, progress=lambda *call: calls.append(call))
    assert np.array_equal(items, generate(model, 4))
    symbols = 4 * int(np.prod(model.item.size)) * len(model.item.alphabets)
    decoded = [call[1] for call in calls if call[0] == "decode"]
    assert decoded == sorted(decoded) and calls[-1] == ("decode", symbols, symbols)
    drawn = [call for call in calls if call[0] == "draw"]
    assert all(call[1] <= call[2] for call in drawn) and (not drawn or drawn[-1][1] == drawn[-1][2])


def test_a_continuation_keeps_what_is_given_and_draws_the_rest(model: Model) -> None:
    given = samples_of(model.item, seed=9)[:3]
    items = generate(model, 4, given=given)
    assert all(np.array_equal(item[:3], given) for item in items)
    assert len({item[3:].tobytes() for item in items}) > 1
    assert np.array_equal(items, generate(model, 4, given=given))


def test_a_continuation_of_everything_is_what_was_given(model: Model) -> None:
    whole = samples_of(model.item)
    assert np.array_equal(generate(model, 2, given=whole), np.stack([whole, whole]))


def test_the_codes_of_what_is_given_are_kept() -> None:
    model = small_model("vq-parallel", "colour")
    given = samples_of(model.item, (5, 4), seed=2)
    codes = model.encode(given[None])[:, :2]  # two whole rows of positions of two rows of pixels
    drawn = model.sample_codes(3, (6, 4), Sampling(seed=1), given=given)
    assert torch.equal(drawn[:, :2], codes.expand(3, -1, -1, -1))
    items = generate(model, 3, how=Sampling(seed=1), given=given)
    assert np.array_equal(items[:, 5:], model.decode(drawn, (6, 4))[:, 5:])


def test_the_size_is_the_models_the_kinds_or_the_callers() -> None:
    config = vq_vae(Image(channels=1))
    model = finished(replace(config, item=Image(channels=1, size=(6, 4))))
    assert generate(model, 1).shape == (1, 6, 4, 1)
    assert generate(model, 1, size=(3, 9)).shape == (1, 3, 9, 1)
    model.config = config
    assert generate(model, 1).shape == (1, *Image.default_size, 1)


def test_temperature_makes_likelier_items() -> None:
    for case, kind in (("vq-parallel", "text"), ("delta-autoregressive", "text")):
        model = small_model(case, kind)
        cold, hot = (generate(model, 8, how=Sampling(temperature=t)) for t in (0.01, 100.0))
        assert len(np.unique(cold)) < len(np.unique(hot))


def test_a_delta_vae_draws_from_either_prior() -> None:
    model = small_model("delta-both", "text")
    assert np.array_equal(generate(model, 2), generate(model, 2, prior="auxiliary"))
    assert not np.array_equal(generate(model, 2), generate(model, 2, prior="ar1"))
    with pytest.raises(LatentpressError, match="no choice between two"):
        generate(small_model("vq-both"), 1, prior="ar1")


def test_a_decoder_alone_draws_items() -> None:
    config = delta_vae(Text(size=(9,)), "autoregressive")
    alone = finished(replace(config, latents=None, auxiliary=None))
    assert generate(alone, 2).shape == (2, 9, 1)
    with pytest.raises(LatentpressError, match="decoder alone"):
        generate(alone, 1, prior="ar1")


def test_labels_condition_what_is_drawn() -> None:
    config = vq_vae(Image(channels=1, size=(6, 4)))
    labels = (LabelConfig(values=("cat", "dog")), LabelConfig(name="tone", values=("a", "b")))
    model = finished(replace(config, labels=labels, prior=replace(config.prior, labels=("class",))))
    jolted(model.prior, 0.5)
    codes = torch.randint(16, (8, 3, 2, 2), generator=torch.Generator().manual_seed(0))
    prior = type(model.integer.prior).convert(model.prior, codes)  # type: ignore[union-attr]
    model.integer = replace(model.integer, prior=prior)
    cat, dog = (generate(model, 4, labels={"class": name}) for name in ("cat", "dog"))
    assert not np.array_equal(cat, dog)
    with pytest.raises(LatentpressError, match="no class 'cow'; the model has: cat, dog"):
        generate(model, 1, labels={"class": "cow"})
    for name in ("tone", "speaker"):
        with pytest.raises(
            LatentpressError, match=rf"conditioned by a label '{name}'.*--set 'model.prior.labels="
        ):
            generate(model, 1, labels={name: "a"})


@pytest.mark.parametrize("size", [(8192, 8192), (0, 5)])
def test_a_size_out_of_range_is_one_line_of_advice(size: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match=r"cannot draw images of \d+ x \d+: .*; give another size \(--size"):
        generate(small_model("vq-both"), 1, size=size)


def test_what_the_model_cannot_draw_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        generate(small_model("vq-both"), 0)
    with pytest.raises(ConfigError, match=r"cannot draw images of 6 x 5: the model takes .*4 columns"):
        generate(small_model("delta-both"), 1, size=(6, 5))
    with pytest.raises(ConfigError, match="cannot draw texts of 3 x 3"):
        generate(small_model("vq-both", "text"), 1, size=(3, 3))
    with pytest.raises(LatentpressError, match=r"no prior to draw from|no integer form"):
        generate(build(vq_vae(Image(size=(6, 4)), prior=None)).eval(), 1)


@pytest.mark.parametrize("shape", [(5, 3, 3), (7, 4, 3), (0, 4, 3), (5, 4, 1)])
def test_what_is_given_has_to_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="images of 6 x 4 begin with 1 to 6 x 4 x 3, got"):
        generate(small_model("vq-both", "colour"), 1, given=np.zeros(shape, np.uint8))
