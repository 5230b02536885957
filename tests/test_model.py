"""What every model owes to those who use it, for both inventions, all decoders and all kinds of items."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from latentpress.autoregressive.integer.network import IntegerNetwork
from latentpress.coding.tables import random_points
from latentpress.config import LabelConfig, PriorConfig
from latentpress.errors import LatentpressError
from latentpress.exact.distribution import Sampling
from latentpress.model import VQVAE, IntegerForms, Latents, Model
from small.configs import ITEMS, delta_vae, vq_vae
from small.items import samples_of
from small.models import MODELS, batch_of, finished, small_model

CASES = [(case, item) for case in MODELS for item in ITEMS]


@pytest.fixture(params=CASES, ids=lambda case: "-".join(case))
def model(request) -> Model:
    return small_model(*request.param)


def other_size(model: Model) -> tuple[int, ...]:
    """A size that the model takes and whose extents are no multiples of the hop."""
    size = model.item.size
    assert size is not None
    rest = size[1:] if model.hop[1:] == size[1:] else tuple(side + 1 for side in size[1:])
    return (size[0] + 1, *rest)


def test_samples_to_codes_and_back(model: Model) -> None:
    for size in (model.item.size, other_size(model)):
        items = batch_of(model.item, 3, size)
        codes = model.encode(items)
        assert codes.dtype == torch.int64
        assert tuple(codes.shape) == (3, *model.grid(size), len(model.alphabets))
        assert all(
            0 <= int(c.min()) <= int(c.max()) < k
            for c, k in zip(codes.unbind(-1), model.alphabets, strict=True)
        )
        restored = model.decode(codes, size)
        assert restored.shape == items.shape and restored.dtype == model.item.dtype


def test_a_batch_equals_its_items(model: Model) -> None:
    items = batch_of(model.item, 3)
    codes = model.encode(items)
    assert torch.equal(codes, torch.cat([model.encode(item[None]) for item in items]))
    whole = model.decode(codes, model.item.size, seed=5)
    for number, each in enumerate(codes):
        alone = model.decode(each[None], model.item.size, seed=5, numbers=[number])
        np.testing.assert_allclose(alone[0].astype(int), whole[number].astype(int), atol=1)


@pytest.mark.parametrize("rows", [None, 1])
def test_reversed_views_are_arrays_like_others(model: Model, rows: int | None) -> None:
    assert model.item.size is not None
    size = model.item.size if rows is None else (rows, *model.item.size[1:])
    items = batch_of(model.item, 1, size)[:, ::-1]
    codes = model.encode(items)
    assert torch.equal(codes, model.encode(items.copy()))
    reverse = codes.numpy()[:, ::-1]
    assert np.array_equal(model.decode(reverse, size), model.decode(reverse.copy(), size))


def test_only_drawing_needs_a_seed(model: Model) -> None:
    codes = model.encode(batch_of(model.item, 2))
    first, again, other = (model.decode(codes, model.item.size, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert model.stochastic == (not np.array_equal(first, other))


def test_latents_cost_what_they_say(model: Model) -> None:
    items = torch.from_numpy(batch_of(model.item).astype(np.int64))
    latents = model.infer(items, generator=torch.Generator().manual_seed(0))
    assert isinstance(latents, Latents) and len(latents) == len(items)
    assert latents.vectors.shape[2:] == model.grid(model.item.size)
    nats, given = model.latent_nats(latents), model.sample_nats(items, latents)
    assert nats.dtype == given.dtype == torch.float64 and nats.shape == given.shape == (len(items),)
    assert torch.isfinite(nats).all() and torch.isfinite(given).all()
    order = torch.tensor([2, 0, 1])
    taken = latents.take(order)
    torch.testing.assert_close(model.latent_nats(taken), nats[order])
    torch.testing.assert_close(model.sample_nats(items[order], taken), given[order])
    joined = Latents.cat([latents.take(torch.tensor([0])), latents.take(torch.tensor([1, 2]))])
    torch.testing.assert_close(model.sample_nats(items[:3], joined), given[:3])
    with pytest.raises(AssertionError):
        torch.testing.assert_close(
            model.sample_nats(items[order], latents.take(torch.arange(3))), given[order]
        )


def test_padding_costs_nothing(model: Model) -> None:
    items = torch.from_numpy(batch_of(model.item, 2).astype(np.int64))
    latents = model.infer(items, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(items.shape[:-1], dtype=torch.bool)
    whole = model.sample_nats(items, latents)
    torch.testing.assert_close(model.sample_nats(items, latents, mask=mask), whole)
    mask[1, 4:] = False
    part = model.sample_nats(items, latents, mask=mask)
    torch.testing.assert_close(part[0], whole[0])
    assert part[1] != whole[1]
    changed = items.clone()
    changed[1, 4:] = items.min()
    torch.testing.assert_close(model.sample_nats(changed, latents, mask=mask), part)


def test_features_and_details(model: Model) -> None:
    items = torch.from_numpy(batch_of(model.item).astype(np.int64))
    latents = model.infer(items)
    assert model.features(latents).shape[0] == len(items)
    details = model.details(latents)
    unused, used = details.verdict(0.0, 10.0), details.verdict(9.0, 10.0)
    assert used.endswith(".") and (unused != used) == (details.warning is None)
    assert details.figures() and all(np.isfinite(value) for _, value, _ in details.figures())
    assert details.values


def test_new_codes(model: Model) -> None:
    size = other_size(model)
    codes = model.sample_codes(2, size, Sampling(seed=3))
    assert tuple(codes.shape[:-1]) == (2, *model.grid(size))
    assert torch.equal(codes, model.sample_codes(2, size, Sampling(seed=3)))
    assert not torch.equal(codes, model.sample_codes(2, size, Sampling(seed=4)))
    assert model.decode(codes, size, sampled=True).shape == (2, *size, model.item.channels)
    given = samples_of(model.item, size, seed=7)[:3]
    begun = model.sample_codes(2, size, Sampling(seed=3), given=given)
    rows = 3 // model.hop[0]
    assert torch.equal(begun[0, :rows], begun[1, :rows])
    drawn = model.decode(begun, size, sampled=True, given=given)
    if model.stochastic:
        assert np.array_equal(drawn[:, :3], np.stack([given, given]))


def test_what_it_does_not_take_is_said(model: Model) -> None:
    size = model.item.size
    assert size is not None and model.takes((*size, model.item.channels))
    wrong = batch_of(model.item, 1)
    for items in (wrong[..., :0], wrong[0], np.concatenate([wrong, wrong], axis=-1)):
        assert not model.takes(items.shape[1:])
        with pytest.raises(ValueError, match="the model takes"):
            model.encode(items)
    codes = model.encode(wrong)
    with pytest.raises(ValueError, match="do not fit"):
        model.decode(codes[:, :1], size)


@pytest.mark.parametrize("item", ["image", "toy"])
def test_a_delta_vae_knows_the_extents_of_the_axes_that_a_latent_spans(item: str) -> None:
    model = small_model("delta-both", item)
    size = model.item.size
    assert size is not None
    assert model.takes((size[0] + 3, *size[1:], 1)) and not model.takes(
        (size[0], *size[1:-1], size[-1] + 1, 1)
    )
    assert str(size[-1]) in model.wanted()


@pytest.mark.parametrize("item", ITEMS)
def test_a_decoder_alone(item: str) -> None:
    model = finished(delta_vae(ITEMS[item], "autoregressive", latents=None, auxiliary=None))
    items = batch_of(model.item, 2)
    codes = model.encode(items)
    assert codes.numel() == 0 and model.alphabets == () and model.encoder is None
    assert model.decode(codes, model.item.size, seed=1).shape == items.shape
    latents = model.infer(torch.from_numpy(items.astype(np.int64)))
    assert not model.latent_nats(latents).any()
    assert model.sample_nats(torch.from_numpy(items.astype(np.int64)), latents).all()
    with pytest.raises(LatentpressError, match="decoder alone"):
        model.sample_codes(1, model.item.size, Sampling(), prior="ar1")


def test_a_prior_in_integers_is_needed_and_said() -> None:
    from latentpress.model import build

    vq = build(vq_vae(ITEMS["image"], "parallel")).eval()
    with pytest.raises(LatentpressError, match="--stage prior"):
        vq.sample_codes(1, (6, 4), Sampling())
    delta = build(delta_vae(ITEMS["image"], "both")).eval()
    with pytest.raises(LatentpressError, match="end of training"):
        delta.encode(batch_of(ITEMS["image"], 1))
    with pytest.raises(LatentpressError, match="one prior"):
        small_model("vq-both").sample_codes(1, (6, 4), Sampling(), prior="ar1")


def test_ids_name_what_they_should() -> None:
    one, other = (finished(vq_vae(ITEMS["image"], "both"), seed=seed) for seed in (1, 1))
    assert one.codes_id == other.codes_id and one.integer.ids == other.integer.ids
    other.latents.code_vectors.vectors[0, 0, 0] += 1  # type: ignore[union-attr, index, operator]
    assert one.codes_id != other.codes_id
    delta = small_model("delta-both")
    assert set(delta.integer.ids) == {"prior", "decoder", "encoder"}
    assert delta.codes_id != finished(delta_vae(ITEMS["image"], "both"), seed=2).codes_id


def test_labels_condition_the_parts_that_name_them() -> None:
    labels = (LabelConfig(name="speaker", values=("a", "b", "c")), LabelConfig(values=("x", "y")))
    config = vq_vae(ITEMS["image"], "parallel", labels=labels)
    assert config.prior is not None
    network = config.prior.network
    model = finished(
        vq_vae(
            ITEMS["image"], "parallel", labels=labels, prior=PriorConfig(network=network, labels=("class",))
        )
    )
    numbers = model.label_numbers({"class": "y", "speaker": "c", "other": "z"}, rows=6)
    assert numbers.values == (2, 1) and numbers.tracks is None
    both = torch.tensor([[2, 1], [0, -1]])
    assert model.labels_for("prior", both).tolist() == [[1], [-1]]  # type: ignore[union-attr]
    assert model.labels_for("parallel", both) is None and model.labels_for("prior", None) is None
    along = model.label_numbers({"class": ("x", "y", "x")}, rows=4)
    assert along.tracks is not None and along.tracks.tolist() == [[-1, 0], [-1, 1], [-1, 0], [-1, -1]]
    items = torch.from_numpy(batch_of(ITEMS["image"], 2).astype(np.int64))
    assert isinstance(model, VQVAE) and model.prior is not None
    for name, weight in model.prior.named_parameters():
        if ".labels." in name:
            weight.data.normal_(std=3, generator=torch.Generator().manual_seed(0))
    model.integer = IntegerForms(prior=IntegerNetwork.convert(model.prior, model.encode(items)))
    latents = model.infer(items)
    nats = [model.latent_nats(latents, torch.tensor([[0, n], [0, n]])) for n in (0, 1)]
    assert not torch.equal(*nats)
    assert torch.equal(nats[1], model.latent_nats(latents, torch.tensor([[2, 1], [1, 1]])))
    new = [model.sample_codes(8, (6, 4), Sampling(), labels=torch.full((8, 2), n)) for n in (0, 1)]
    assert not torch.equal(*new)


def test_codes_and_samples_of_one_seed_are_drawn_apart(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = set[int]()

    def spied(seed: int, *rest: Any) -> Any:
        seeds.add(seed)
        return random_points(seed, *rest)

    monkeypatch.setattr("latentpress.autoregressive.coding.random_points", spied)
    monkeypatch.setattr("latentpress.latents.integer_lstm.random_points", spied)
    size = model.item.size
    assert size is not None
    codes = model.sample_codes(1, size, Sampling(seed=3))
    of_codes = seeds.copy()
    seeds.clear()
    model.decode(codes, size, seed=3, sampled=True)
    assert of_codes and bool(seeds) == model.stochastic and not of_codes & seeds
