"""Configurations: text and back, strictness, and single settings."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentpress.config import (
    CausalConfig,
    CodebookConfig,
    ConvConfig,
    DiscretizedLogisticConfig,
    EMAConfig,
    GaussianConfig,
    ImageConfig,
    LaplaceConfig,
    LearnedConfig,
    PixelsConfig,
    RunConfig,
    StageConfig,
    VQVAEConfig,
    from_json,
    from_toml,
    override,
    to_json,
)
from latentpress.errors import ConfigError

scales = st.none() | st.floats(1e-6, 1e6)
convs = st.builds(
    ConvConfig,
    strides=st.just((2, 4)),
    depths=st.tuples(st.integers(0, 64), st.integers(0, 64)),
    width=st.integers(1, 8192),
    norm=st.sampled_from(["none", "channel"]),
)
memories = st.builds(EMAConfig, decay=st.floats(0.01, 0.99)) | st.builds(
    LearnedConfig, weight=st.floats(1e-3, 1e3)
)
models = st.builds(
    VQVAEConfig,
    item=st.builds(ImageConfig, channels=st.sampled_from([1, 3])),
    encoder=convs,
    decoder=convs,
    latents=st.builds(CodebookConfig, codebook_size=st.integers(2, 65536), memory=memories),
    likelihood=st.builds(GaussianConfig, scale=scales)
    | st.builds(LaplaceConfig, scale=scales)
    | st.just(DiscretizedLogisticConfig()),
    prior=st.none() | st.builds(CausalConfig, depth=st.integers(0, 64)),
    pixels=st.none() | st.builds(PixelsConfig, depth=st.integers(0, 64), use_codes=st.booleans()),
    labels=st.lists(st.text(max_size=8), unique=True, max_size=3).map(tuple),
)


@given(models)
def test_json_round_trip(model: VQVAEConfig) -> None:
    run = RunConfig(model=model)
    assert from_json(RunConfig, to_json(run)) == run


def test_toml_fills_in_what_it_leaves_out() -> None:
    text = '[model.likelihood]\nkind = "laplace"\nscale = 0.25\n[codec]\nsteps = 7\n'
    expected = RunConfig(model=VQVAEConfig(likelihood=LaplaceConfig(scale=0.25)), codec=StageConfig(steps=7))
    assert from_toml(RunConfig, text) == expected


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"modle": {}}, "modle: there is no such setting"),
        ({"model": {"latents": {"codebook": 5}}}, "model.latents.codebook: there is no such setting"),
        ({"model": {"likelihood": {"kind": "gaussian", "loc": 1}}}, "model.likelihood.loc: there is no such"),
        (
            {"model": {"likelihood": {"kind": "discretized_logistic", "loc": 1}}},
            "model.likelihood.loc: there is no such",
        ),
        ({"model": {"likelihood": {"kind": "laplace", "scale": -1}}}, "model.likelihood: scale: positive"),
        (
            {"model": {"likelihood": {"kind": "cauchy"}}},
            "likelihood.kind: should be one of 'gaussian', 'lapl",
        ),
        ({"model": {"latents": {"codebook_size": 1}}}, "codebook_size: 2 to 65536, got 1"),
        ({"model": {"latents": {"codebook_size": "many"}}}, "model.latents.codebook_size: Input should be"),
        ({"model": {"encoder": {"strides": [2, 2, 2], "depths": [0, 0, 0]}}}, "hop lengths differ: 8 and 4"),
        ({"model": {"labels": ["a", "a"]}}, "labels: each may stand there once"),
        ({"model": {"prior": {"class_conditional": True}}}, "no classes to tell apart"),
        ({"codec": {"learning_rate": float("nan")}}, "finite"),
        ({"codec": {"learning_rate": float("inf")}}, "finite"),
        ({"codec": {"steps": 0}}, "steps: at least 1, got 0"),
    ],
)
def test_refusals_say_where_and_what(tree: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_json(RunConfig, json.dumps(tree))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=64) | st.text(max_size=64))
def test_hostile_text_is_refused_or_read(text: str | bytes) -> None:
    try:
        config = from_json(VQVAEConfig, text)
    except ConfigError:
        return
    assert isinstance(config, VQVAEConfig)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a":' * 100_000, "9" * 10_000, "null", "[]", '"model"', "NaN", b"\xff\xfe", ""],
)
def test_hostile_shapes_are_refused(text: str | bytes) -> None:
    with pytest.raises(ConfigError):
        from_json(VQVAEConfig, text)
    with pytest.raises(ConfigError):
        from_json(VQVAEConfig, json.dumps({"encoder": {"strides": [2] * 100, "depths": [0] * 100}}))


def test_broken_toml_is_refused() -> None:
    with pytest.raises(ConfigError, match="not TOML"):
        from_toml(RunConfig, "[model")


def test_override_reads_json_and_text() -> None:
    changed = override(
        RunConfig(),
        {
            "model.encoder.strides": "[2, 2, 2]",
            "model.encoder.depths": "[0, 0, 2]",
            "model.decoder.strides": "[2, 2, 2]",
            "model.decoder.depths": "[0, 0, 2]",
            "model.latents.distance": "cosine",
            "codec.flip": "false",
        },
    )
    assert changed.model.encoder.hop_length == 8
    assert changed.model.latents.distance == "cosine"
    assert changed.codec.flip is False
    assert dataclasses.replace(changed, model=RunConfig().model, codec=RunConfig().codec) == RunConfig()


@given(st.permutations(["model.latents.memory.kind", "model.latents.memory.weight", "codec.steps"]))
def test_override_takes_a_kind_and_its_fields_in_any_order(keys: list[str]) -> None:
    values = {
        "model.latents.memory.kind": "gradient",
        "model.latents.memory.weight": "0.5",
        "codec.steps": "3",
    }
    changed = override(RunConfig(), {key: values[key] for key in keys})
    assert changed.model.latents.memory == LearnedConfig(weight=0.5)
    assert changed.codec.steps == 3


def test_override_of_the_same_kind_keeps_the_other_fields() -> None:
    start = VQVAEConfig(likelihood=LaplaceConfig(scale=0.5))
    assert override(start, {"likelihood.kind": "laplace"}) == start


def test_override_removes_a_part_and_brings_it_back() -> None:
    without = override(VQVAEConfig(), {"prior": "null"})
    assert without.prior is None
    back = override(without, {"prior.width": "32", "prior.kind": "grid"})
    assert back.prior == CausalConfig(width=32)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("model.latents.size", "no setting 'model.latents.size'; here are: kind, codebook_size"),
        ("model.latent.code_dim", "there is no section 'latent'"),
        ("model.labels.x", "there is no section 'labels'"),
        ("", "no setting ''"),
        ("model.", "no setting 'model.'"),
        ("codec.kind", "codec.kind: there is no such setting"),
    ],
)
def test_override_refuses_unknown_keys(key: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        override(RunConfig(), {key: "1"})
    assert message in str(caught.value)


def test_a_pixels_section_comes_into_being_when_its_kind_is_set() -> None:
    settings = {"pixels.kind": "pixels", "pixels.width": "48", "pixels.use_codes": "false"}
    assert override(VQVAEConfig(), settings).pixels == PixelsConfig(width=48, use_codes=False)


@pytest.mark.parametrize(("name", "value"), [("width", 0), ("map_channels", 0), ("depth", 65), ("radius", 0)])
def test_pixels_settings_out_of_range_are_refused(name: str, value: int) -> None:
    with pytest.raises(ConfigError, match=name):
        PixelsConfig(**{name: value})


@pytest.mark.parametrize("share", ["codec_share", "decoder_share"])
def test_shares_lie_between_none_and_all(share: str) -> None:
    for value in (0.0, 1.0):
        with pytest.raises(ConfigError, match=share):
            RunConfig(**{share: value})
