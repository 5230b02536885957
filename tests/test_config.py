"""Configurations: text and back, strictness, bounds and hops."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentpress import config
from latentpress.config import (
    AnnealedObjectiveConfig,
    AnticausalConfig,
    AR1Config,
    AutoregressiveDecoderConfig,
    CausalConfig,
    CodebookConfig,
    ConvConfig,
    DeltaVAEConfig,
    DiscretizedLogisticConfig,
    EMAConfig,
    GaussianConfig,
    LabelConfig,
    LaplaceConfig,
    LearnedConfig,
    MeanBoundConfig,
    ParallelDecoderConfig,
    PlainGaussianConfig,
    PriorConfig,
    RecurrentEncoderConfig,
    RunConfig,
    StageConfig,
    VarianceBoundConfig,
    VarianceRatioConfig,
    VQVAEConfig,
    from_json,
    from_toml,
    override,
    to_json,
)
from latentpress.errors import ConfigError
from latentpress.items import Image, Text
from latentpress.strict import Strict, bounds_of
from small.configs import DECODERS, ITEMS, delta_vae, vq_vae
from small.toy import Toy


@dataclass(frozen=True, kw_only=True)
class ToyVQVAEConfig(VQVAEConfig):
    """A VQ-VAE of a kind that the package knows nothing of."""

    item: Toy = field(default_factory=Toy)


@dataclass(frozen=True, kw_only=True)
class ToyDeltaVAEConfig(DeltaVAEConfig):
    """A delta-VAE of a kind that the package knows nothing of."""

    item: Toy = field(default_factory=Toy)


@dataclass(frozen=True, kw_only=True)
class ToyRunConfig(RunConfig):
    """A run of either."""

    model: ToyVQVAEConfig | ToyDeltaVAEConfig = field(default_factory=ToyVQVAEConfig)


scales = st.none() | st.floats(1e-6, 1e6)
convs = st.builds(
    ConvConfig,
    strides=st.just((2, 4)),
    depths=st.tuples(st.integers(0, 64), st.integers(0, 64)),
    width=st.integers(1, 8192),
    norm=st.sampled_from(["none", "channel"]),
)
code_vectors = st.builds(EMAConfig, decay=st.floats(0.01, 0.99)) | st.builds(
    LearnedConfig, weight=st.floats(1e-3, 1e3)
)
likelihoods = (
    st.builds(GaussianConfig, scale=scales)
    | st.builds(LaplaceConfig, scale=scales)
    | st.just(DiscretizedLogisticConfig())
)
items = st.builds(Image, channels=st.sampled_from([1, 3]), size=st.none() | st.just((32, 24))) | st.builds(
    Text, size=st.none() | st.just((100,))
)
label_values = st.lists(st.text(max_size=8), unique=True, max_size=3).map(tuple)
labels = st.builds(LabelConfig, name=st.sampled_from(["class", "speaker"]), values=label_values)
autoregressive = st.builds(
    AutoregressiveDecoderConfig,
    network=st.builds(CausalConfig, depth=st.integers(0, 64)),
    residual=st.booleans(),
)
vq_vaes = st.builds(
    VQVAEConfig,
    item=items,
    encoder=convs,
    latents=st.builds(CodebookConfig, codebook_size=st.integers(2, 65536), vectors=code_vectors),
    parallel=st.builds(ParallelDecoderConfig, network=convs, likelihood=likelihoods),
    autoregressive=st.none() | autoregressive,
    prior=st.none() | st.builds(PriorConfig, training=st.sampled_from(["after", "joint"])),
    labels=st.tuples() | st.tuples(labels),
)
families = (
    st.builds(AR1Config, channels=st.just(2), alpha=st.just((0.5, -0.9)))
    | st.builds(PlainGaussianConfig, channels=st.integers(1, 64))
    | st.builds(VarianceRatioConfig, ratio=st.floats(1.5, 9))
    | st.builds(VarianceBoundConfig, rate_nats=st.floats(0.1, 20))
    | st.builds(MeanBoundConfig, rate_nats=st.floats(0.1, 20))
)
delta_vaes = st.builds(
    DeltaVAEConfig,
    item=items,
    encoder=st.builds(AnticausalConfig, hidden=st.integers(1, 99)) | st.builds(RecurrentEncoderConfig),
    latents=families,
    autoregressive=autoregressive,
)


@given(vq_vaes | delta_vaes)
def test_json_round_trip(model: VQVAEConfig | DeltaVAEConfig) -> None:
    run = RunConfig(model=model)
    assert from_json(RunConfig, to_json(run)) == run
    assert from_json(type(model), to_json(model)) == model


@pytest.mark.parametrize("decoders", DECODERS)
@pytest.mark.parametrize("item", [name for name in ITEMS if name != "toy"])
@pytest.mark.parametrize("make", [vq_vae, delta_vae])
def test_small_configurations_are_read_back(make, item: str, decoders: str) -> None:
    model = make(ITEMS[item], decoders)
    assert from_json(type(model), to_json(model)) == model


@pytest.mark.parametrize("kind", [ToyVQVAEConfig, ToyDeltaVAEConfig])
def test_a_config_class_narrows_the_item_to_a_kind_of_its_own(kind: type) -> None:
    item = Toy(size=(6, 4, 4))
    base = (vq_vae if kind is ToyVQVAEConfig else delta_vae)(item)
    model = kind(**{each.name: getattr(base, each.name) for each in dataclasses.fields(base)})
    assert from_json(kind, to_json(model)) == model
    run = ToyRunConfig(model=model)
    assert from_json(ToyRunConfig, to_json(run)) == run
    assert override(run, {"model.item.size": "[4, 4, 4]"}).model.item == Toy(size=(4, 4, 4))
    with pytest.raises(ConfigError, match=r"^model\.item\.kind: should be one of 'toy'"):
        override(run, {"model.item.kind": "image"})
    with pytest.raises(ConfigError, match=r"^item\.kind: should be one of 'image', 'text'"):
        from_json(type(base), to_json(base))


def test_toml_fills_in_what_it_leaves_out() -> None:
    text = '[model.parallel.likelihood]\nkind = "laplace"\nscale = 0.25\n[codec]\nsteps = 7\n'
    parallel = ParallelDecoderConfig(likelihood=LaplaceConfig(scale=0.25))
    expected = RunConfig(model=VQVAEConfig(parallel=parallel), codec=StageConfig(steps=7))
    assert from_toml(RunConfig, text) == expected


DELTA = {"kind": "delta-vae"}


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"modle": {}}, "modle: there is no such setting"),
        ({"Model": {}}, "Model: there is no such setting"),
        ({"model": {"latents": {"codebook": 5}}}, "model.latents.codebook: there is no such setting"),
        (
            {"model": {"parallel": {"likelihood": {"kind": "gaussian", "loc": 1}}}},
            "model.parallel.likelihood.loc: there is no such",
        ),
        (
            {"model": {"parallel": {"likelihood": {"kind": "discretized_logistic", "loc": 1}}}},
            "model.parallel.likelihood.loc: there is no such",
        ),
        (
            {"model": {"parallel": {"likelihood": {"kind": "laplace", "scale": -1}}}},
            "model.parallel.likelihood: scale: positive",
        ),
        (
            {"model": {"parallel": {"likelihood": {"kind": "cauchy"}}}},
            "model.parallel.likelihood.kind: should be one of 'gaussian', 'lapl",
        ),
        ({"model": {"kind": "gan"}}, "model.kind: should be one of 'vq-vae', 'delta-vae'"),
        ({"model": {"item": {"kind": "scent"}}}, "model.item.kind: should be one of 'image', 'text'"),
        (
            {"model": {"item": {"kind": "image", "channels": 2}}},
            "model.item.channels: Input should be 1 or 3",
        ),
        ({"model": {"item": {"kind": "image", "size": [0, 8]}}}, "model.item: size: 1 to 65536 a side"),
        ({"model": {"item": {"kind": "text", "size": [0]}}}, "model.item: size: 1 to"),
        (
            {"model": {"item": {"kind": "text", "channels": 1}}},
            "model.item.channels: there is no such setting",
        ),
        ({"model": {"latents": {"codebook_size": 1}}}, "codebook_size: 2 to 65536, got 1"),
        ({"model": {"latents": {"codebook_size": "many"}}}, "model.latents.codebook_size: Input should be"),
        ({"model": {"latents": {"vectors": {"decay": 2}}}}, "model.latents.vectors: decay: between 0 and 1"),
        (
            {"model": {"encoder": {"strides": [2, 2, 2], "depths": [0, 0, 0]}}},
            "hops of encoder and parallel decoder differ: (8, 8) and (4, 4)",
        ),
        ({"model": {"encoder": {"strides": [[2, 2, 2]], "depths": [0]}}}, "items have 2 axes"),
        ({"model": {"encoder": {"strides": [[2, 2], [2]], "depths": [0, 0]}}}, "strides: one number an axis"),
        ({"model": {"encoder": {"strides": [17], "depths": [0]}}}, "strides: each is 1 to 16"),
        ({"model": {"encoder": {"strides": [16, 16, 16, 2], "depths": [0] * 4}}}, "at most 4096, got 8192"),
        ({"model": {"labels": [{"values": ["a", "a"]}]}}, "labels.values: each may stand there once"),
        ({"model": {"labels": [{"name": "a b"}]}}, "model.labels.0: labels.name: a plain word"),
        ({"model": {"labels": [{}, {}]}}, "labels: each name may stand there once"),
        ({"model": {"prior": {"labels": ["class"]}}}, "prior.labels: no label 'class' with values"),
        ({"model": {"prior": {"labels": ["class"]}, "labels": [{}]}}, "no label 'class' with values"),
        ({"model": {"parallel": {"labels": ["who"]}}}, "parallel.labels: no label 'who'"),
        ({"model": {"parallel": None}}, "a model has a decoder: parallel, autoregressive, or both"),
        ({"model": {"parallel": {"training": "after"}}}, "one decoder at least is trained jointly"),
        (
            {"model": {"parallel": None, "autoregressive": {"use_latents": False}}},
            "the only decoder needs them",
        ),
        ({"model": {**DELTA, "autoregressive": {"use_latents": False}}}, "the only decoder needs them"),
        ({"model": {**DELTA, "latents": {"kind": "ar1", "alpha": 0}}}, "commits no information"),
        ({"model": {**DELTA, "latents": {"kind": "ar1", "alpha": [0.5, 0.5]}}}, "one for each of 1 channels"),
        ({"model": {**DELTA, "latents": {"kind": "plain", "channels": 65}}}, "channels: 1 to 64, got 65"),
        (
            {"model": {**DELTA, "latents": {"kind": "variance_ratio", "ratio": 1}}},
            "ratio: positive and not 1",
        ),
        ({"model": {**DELTA, "encoder": {"kind": "anticausal", "hop": [1, 1]}}}, "items have 1 axes"),
        ({"model": {**DELTA, "objective": {"kind": "beta"}}}, "objective: baselines change the plain VAE"),
        ({"model": {**DELTA, "half": "encoder", "decoder_id": "no"}}, "decoder_id: 32 hexadecimal digits"),
        ({"model": {**DELTA, "decoder_id": "0" * 32}}, "decoder_id: an encoder half has it"),
        (
            {"model": {**DELTA, "latents": None, "autoregressive": None, "parallel": {}}},
            "latents: only an auto",
        ),
        ({"model": {**DELTA, "latents": None, "parallel": {}}}, "parallel: a decoder that gives all at once"),
        ({"model": {**DELTA, "parallel": {}}}, "differ: (1,) and (4,)"),
        ({"model": {"half": "decoder"}}, "model.half: whole models are trained"),
        ({"codec": {"learning_rate": float("nan")}}, "finite"),
        ({"codec": {"learning_rate": float("inf")}}, "finite"),
        ({"codec": {"steps": 0}}, "steps: at least 1, got 0"),
        ({"codec": {"crop": [8, 0]}}, "crop: at least 1, got (8, 0)"),
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


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (CausalConfig, "width", 0),
        (CausalConfig, "depth", 65),
        (CausalConfig, "radius", 0),
        (CausalConfig, "dilations", ()),
        (AutoregressiveDecoderConfig, "map_channels", 0),
        (AutoregressiveDecoderConfig, "map_past", 65),
        (AnticausalConfig, "hop", ()),
        (RecurrentEncoderConfig, "hop", (4097,)),
        (RecurrentEncoderConfig, "width", 0),
        (RunConfig, "codec_share", 0.0),
        (RunConfig, "codec_share", 1.0),
        (RunConfig, "decoder_share", 0.0),
        (RunConfig, "decoder_share", 1.0),
        (StageConfig, "average_decay", 1.0),
        (StageConfig, "crop", ()),
        (StageConfig, "warmup", -1),
        (ConvConfig, "depths", (0, 65)),
        (AnnealedObjectiveConfig, "share", 0.0),
        (MeanBoundConfig, "rate_nats", 20.5),
    ],
)
def test_settings_out_of_range_are_refused(kind: type, name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        kind(**{name: value})


BOUNDED = [kind for kind in vars(config).values() if isinstance(kind, type) and issubclass(kind, Strict)]


@pytest.mark.parametrize("kind", [*BOUNDED, Text], ids=lambda kind: kind.__name__)
def test_every_declared_bound_holds(kind: type) -> None:
    for name, bounds in bounds_of(kind).items():
        wrong = "no" if name == "decoder_id" else -1
        with pytest.raises(ConfigError, match=f"^{name}: {re.escape(bounds.words)}, got {wrong}$"):
            kind(**{name: wrong})


def test_hops_are_those_of_the_axes() -> None:
    conv = ConvConfig(strides=((1, 2, 2), 5), depths=(0, 0))
    assert conv.hop(3) == (5, 10, 10) and conv.strides_of(3) == ((1, 2, 2), (5, 5, 5))
    with pytest.raises(ConfigError, match="items have 2 axes"):
        conv.hop(2)
    assert StageConfig(crop=9).extents(3) == (9, 9, 9) and StageConfig(crop=(9, 8)).extents(2) == (9, 8)
    with pytest.raises(ConfigError, match="items have 1 axes"):
        StageConfig(crop=(9, 8)).extents(1)


def test_latents_span_axes_without_a_hop_whole() -> None:
    item = Image(size=(30, 28))
    assert DeltaVAEConfig(item=item, encoder=AnticausalConfig(hop=(2,))).hop == (2, 28)
    assert DeltaVAEConfig(item=item, encoder=AnticausalConfig(hop=(2, 7))).hop == (2, 7)
    with pytest.raises(ConfigError, match=r"item\.size: give it, since latents span whole axes"):
        _ = DeltaVAEConfig(item=Image(), encoder=AnticausalConfig(hop=(2,))).hop
