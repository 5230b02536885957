"""Which stages a run has, what each fits, and where it ends."""

from dataclasses import replace
from typing import Any

import pytest

from latentpress.config import RunConfig
from latentpress.errors import ConfigError
from latentpress.train.plan import STAGES, fitted_parts, plan_stages, used_parts
from small.configs import ITEMS, delta_vae, vq_vae

IMAGE = ITEMS["image"]


def after(model: Any, *names: str) -> Any:
    return replace(model, **{name: replace(getattr(model, name), training="after") for name in names})


VQ = after(vq_vae(IMAGE), "autoregressive")
CONFIG = RunConfig(model=VQ, codec_share=0.5, decoder_share=0.5)
BLIND = replace(VQ, autoregressive=replace(VQ.autoregressive, use_latents=False))
CODELESS = replace(
    VQ,
    parallel=replace(VQ.parallel, training="after"),
    autoregressive=replace(BLIND.autoregressive, training="joint"),
)
ALONE = replace(delta_vae(IMAGE, "autoregressive"), latents=None, auxiliary=None)


@pytest.mark.parametrize(
    ("stages", "lengths"),
    [
        (STAGES, {"codec": 25, "prior": 25, "decoder": 50}),
        (("codec", "prior"), {"codec": 50, "prior": 50}),
        (("codec", "decoder"), {"codec": 50, "decoder": 50}),
        (("prior", "decoder"), {"prior": 50, "decoder": 50}),
        (("prior", "encoder"), {"prior": 50, "encoder": 50}),
        (("decoder", "encoder"), {"decoder": 50, "encoder": 50}),
        (("decoder",), {"decoder": 100}),
        (("prior",), {"prior": 100}),
        (("encoder",), {"encoder": 100}),
        (("codec",), {"codec": 100}),
    ],
)
def test_stages_share_the_limit(stages, lengths: dict[str, int]):
    steps = plan_stages(CONFIG, stages, 100, None)
    assert {name: limit.steps for name, limit in steps.items()} == lengths
    ends, total = plan_stages(CONFIG, stages, None, 10.0), 0
    for name, limit in ends.items():
        total += lengths[name]
        assert limit.seconds == pytest.approx(total / 10)
    assert all(limit.steps == 5000 for limit in plan_stages(CONFIG, stages, None, None).values())


@pytest.mark.parametrize(
    ("model", "whole", "fits"),
    [
        (
            VQ,
            True,
            {"codec": {"encoder", "latents", "parallel"}, "prior": {"prior"}, "decoder": {"autoregressive"}},
        ),
        (VQ, False, {"prior": {"prior"}, "decoder": {"autoregressive"}, "encoder": {"encoder"}}),
        (
            vq_vae(IMAGE, "autoregressive"),
            True,
            {"codec": {"encoder", "latents", "autoregressive"}, "prior": {"prior"}},
        ),
        (
            replace(vq_vae(IMAGE), prior=replace(VQ.prior, training="joint")),
            True,
            {"codec": {"encoder", "latents", "parallel", "autoregressive", "prior"}},
        ),
        (
            vq_vae(IMAGE),
            False,
            {"prior": {"prior"}, "decoder": {"parallel", "autoregressive"}, "encoder": {"encoder"}},
        ),
        (
            replace(vq_vae(IMAGE, "parallel"), prior=None),
            False,
            {"decoder": {"parallel"}, "encoder": {"encoder"}},
        ),
        (
            delta_vae(IMAGE),
            True,
            {
                "codec": {"encoder", "latents", "parallel", "autoregressive", "auxiliary"},
                "prior": {"auxiliary"},
            },
        ),
        (
            after(delta_vae(IMAGE), "parallel"),
            False,
            {"prior": {"auxiliary"}, "decoder": {"parallel"}, "encoder": {"encoder"}},
        ),
        (ALONE, True, {"codec": {"autoregressive"}}),
        (ALONE, False, {"decoder": {"autoregressive"}}),
    ],
)
def test_every_stage_fits_its_parts(model: Any, whole: bool, fits: dict[str, set[str]]):
    found = {name: set(fitted_parts(model, name, whole=whole)) for name in STAGES if whole or name != "codec"}
    assert {name: parts for name, parts in found.items() if parts} == fits


def test_what_a_stage_takes_as_it_is():
    assert set(used_parts(VQ, "prior")) == set(used_parts(VQ, "decoder")) == {"encoder", "latents"}
    assert set(used_parts(VQ, "encoder")) == {"latents", "parallel"}
    assert set(used_parts(vq_vae(IMAGE, "autoregressive"), "encoder")) == {"latents", "autoregressive"}
    assert used_parts(BLIND, "decoder") == used_parts(ALONE, "decoder") == used_parts(VQ, "codec") == ()


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        (VQ, (STAGES, 3, 3.0), "not both"),
        (VQ, (STAGES, 0, None), "positive"),
        (VQ, (STAGES, None, -1.0), "positive"),
        (VQ, ((), 3, None), "stages: some of codec, prior, decoder, encoder, got none"),
        (VQ, (("pixels",), 3, None), "stages"),
        (replace(VQ, prior=None), (("prior",), 3, None), "stage prior: the model has no prior"),
        (ALONE, (("prior",), 3, None), "stage prior: the model has no prior"),
        (ALONE, (("encoder",), 3, None), "stage encoder"),
        (
            CODELESS,
            (("codec",), 3, None),
            "stage codec: no decoder that sees",
        ),
    ],
)
def test_what_does_not_fit_is_refused(model: Any, arguments: Any, message: str):
    with pytest.raises(ConfigError, match=message):
        plan_stages(replace(CONFIG, model=model), *arguments)
