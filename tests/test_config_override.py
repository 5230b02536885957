"""Single settings by dotted name: what they set, bring into being and remove, and what is refused."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentpress.config import (
    AutoregressiveDecoderConfig,
    CausalConfig,
    DeltaVAEConfig,
    LabelConfig,
    LaplaceConfig,
    LearnedConfig,
    ParallelDecoderConfig,
    PlainGaussianConfig,
    PriorConfig,
    RunConfig,
    VQVAEConfig,
    label_sizes,
    override,
)
from latentpress.errors import ConfigError
from latentpress.items import Image


def test_override_reads_json_and_text() -> None:
    changed = override(
        RunConfig(),
        {
            "model.encoder.strides": "[2, 2, 2]",
            "model.encoder.depths": "[0, 0, 2]",
            "model.parallel.network.strides": "[2, [2, 2], 2]",
            "model.parallel.network.depths": "[0, 0, 2]",
            "model.latents.distance": "cosine",
            "codec.flip": "false",
        },
    )
    assert changed.model.encoder.hop(2) == (8, 8)
    assert changed.model.latents.distance == "cosine"
    assert changed.codec.flip is False
    assert dataclasses.replace(changed, model=RunConfig().model, codec=RunConfig().codec) == RunConfig()


def test_override_sets_tuples_of_sections() -> None:
    settings = {"labels": '[{"values": ["cat", "dog"]}, {"name": "speaker"}]', "prior.labels": '["class"]'}
    changed = override(VQVAEConfig(), settings)
    assert changed.labels == (LabelConfig(values=("cat", "dog")), LabelConfig(name="speaker"))
    assert label_sizes(changed.labels, changed.prior.labels) == (2,)


@given(st.permutations(["model.latents.vectors.kind", "model.latents.vectors.weight", "codec.steps"]))
def test_override_takes_a_kind_and_its_fields_in_any_order(keys: list[str]) -> None:
    values = {
        "model.latents.vectors.kind": "learned",
        "model.latents.vectors.weight": "0.5",
        "codec.steps": "3",
    }
    changed = override(RunConfig(), {key: values[key] for key in keys})
    assert changed.model.latents.vectors == LearnedConfig(weight=0.5)
    assert changed.codec.steps == 3


def test_override_of_the_same_kind_keeps_the_other_fields() -> None:
    start = VQVAEConfig(parallel=ParallelDecoderConfig(likelihood=LaplaceConfig(scale=0.5)))
    assert override(start, {"parallel.likelihood.kind": "laplace"}) == start


def test_override_of_the_kind_of_model_and_of_item() -> None:
    changed = override(RunConfig(), {"model.kind": "delta-vae", "model.latents.kind": "plain"}).model
    assert changed == DeltaVAEConfig(latents=PlainGaussianConfig())
    assert override(DeltaVAEConfig(), {"item.kind": "image", "item.channels": "1"}).item == Image(channels=1)


@pytest.mark.parametrize("more", [{}, {"prior.network.kind": "causal"}])
def test_override_removes_a_part_and_brings_it_back(more: dict[str, str]) -> None:
    without = override(VQVAEConfig(), {"prior": "null"})
    assert without.prior is None
    back = override(without, {"prior.network.width": "32", "prior.kind": "causal", **more})
    assert back.prior == PriorConfig(network=CausalConfig(width=32))


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("model.latents.size", "no setting 'model.latents.size'; here are: kind, codebook_size"),
        (
            "model.latent.code_dim",
            "no setting 'model.latent.code_dim'; here are: kind, item, encoder, latents",
        ),
        ("model.labels.x", "no setting 'model.labels.x': model.labels is no section"),
        ("", "no setting ''"),
        ("model.", "no setting 'model.'"),
        ("codec.kind", "codec.kind: there is no such setting"),
    ],
)
def test_override_refuses_unknown_keys(key: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        override(RunConfig(), {key: "1"})
    assert message in str(caught.value)


def test_a_decoder_comes_into_being_when_its_kind_is_set() -> None:
    settings = {"autoregressive.kind": "autoregressive", "autoregressive.map_width": "48"}
    assert override(VQVAEConfig(), settings).autoregressive == AutoregressiveDecoderConfig(map_width=48)
