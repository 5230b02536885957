"""What is minimised: every term of every loss is there, and moves what it should and nothing else."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from latentpress.config import (
    AnnealedObjectiveConfig,
    BetaObjectiveConfig,
    CodebookConfig,
    FreeBitsObjectiveConfig,
    LabelConfig,
    LearnedConfig,
    PlainGaussianConfig,
    RunConfig,
)
from latentpress.data.batches import Batch
from latentpress.latents.gaussian import AR1Latents
from latentpress.model import VQVAE, DeltaVAE, Latents, Model
from latentpress.nn import pad_to_hop, to_signal
from latentpress.train.loop import Stage
from latentpress.train.terms import hidden
from latentpress.train.vqvae import cell_mask
from small.training import CASES, Case, parts_of, same, stage_of, train

KINDS = ["image", "text", "toy"]
LEARNED = CodebookConfig(codebook_size=16, code_dim=4, num_codebooks=2, vectors=LearnedConfig())


def joint(case: Case, **changes: Any) -> RunConfig:
    """All decoders and the prior are fitted with the encoder; code vectors are parameters."""
    config = case.config(**changes)
    model = config.model
    if model.autoregressive is not None:
        model = replace(model, autoregressive=replace(model.autoregressive, training="joint"))
    if case.model == "vq":
        model = replace(model, latents=LEARNED, prior=replace(model.prior, training="joint"))  # type: ignore
    return replace(config, model=model)


def batch_of(stage: Stage, number: int = 1) -> Batch:
    return next(iter(stage.stream(number)))


def value(stage: Stage, batch: Batch, progress: float = 0.5) -> Tensor:
    torch.manual_seed(1)
    return stage.loss(batch, progress).total


def decoder_terms(model: Model, batch: Batch, latents: Latents) -> dict[str, Tensor]:
    """The decoders' nats a sample, computed from the model's parts."""
    item, terms = model.item, {}
    if model.parallel is not None:
        signal = to_signal(batch.samples, item.low, item.levels)
        terms["parallel"] = model.parallel.nats(signal, latents.vectors, None, batch.mask).sum() / batch.dims
    if model.autoregressive is not None:
        assert batch.symbols is not None
        nats = model.autoregressive.nats(batch.symbols.long(), latents.input, None, batch.mask)
        terms["autoregressive"] = nats.sum() / batch.dims
    return terms


def terms_of(model: Model, batch: Batch) -> dict[str, Tensor]:
    """Every term of the codec's loss by its name, computed from the model's parts."""
    torch.manual_seed(1)
    if isinstance(model, VQVAE):
        assert model.encoder is not None and model.prior is not None
        signal = pad_to_hop(to_signal(batch.samples, model.item.low, model.item.levels), model.hop)
        cells = cell_mask(batch.mask, model.hop)
        quantized = model.latents(model.encoder(signal), cells)
        terms = decoder_terms(model, batch, Latents(quantized.vectors, quantized.codes))
        count = quantized.codes.numel() if cells is None else cells.sum() * quantized.codes.shape[-1]
        prior = model.prior.nats(quantized.codes, None, cells).sum() / count
        losses = {"commitment": quantized.commitment_loss, "codebook": quantized.codebook_loss}
        return {**terms, **losses, "prior": prior}
    assert isinstance(model, DeltaVAE)
    latents = model.infer(batch.samples, mask=batch.mask)
    draws = replace(latents, vectors=latents.vectors.detach())
    return {
        **decoder_terms(model, batch, latents),
        "kl": model.kl_nats(latents).sum() / batch.dims,
        "auxiliary": model.auxiliary_nats(draws).sum() / draws.vectors.numel(),
    }


MOVES = {
    "parallel": {"encoder", "parallel"},
    "autoregressive": {"encoder", "autoregressive"},
    "commitment": {"encoder"},
    "codebook": {"latents"},
    "prior": {"prior"},
    "kl": {"encoder"},
    "auxiliary": {"auxiliary"},
}


def moved(model: Model, loss: Tensor) -> set[str]:
    """Names of the parts that a loss has a gradient for."""
    model.zero_grad()
    loss.backward(retain_graph=True)
    named = model.named_parameters()
    return {name.split(".")[0] for name, p in named if p.grad is not None and bool(p.grad.any())}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("invention", ["vq", "delta"])
def test_the_codecs_loss_is_the_sum_of_its_terms_each_of_which_moves_what_it_should(
    kind: str, invention: str
):
    case = Case(kind, invention, "both")
    model, stage = stage_of(case, "codec", joint(case))
    batch = batch_of(stage)
    assert (batch.mask is not None) == (kind == "text")
    terms = terms_of(model, batch)
    assert set(terms) <= set(MOVES) and len(terms) == (5 if invention == "vq" else 4)
    assert value(stage, batch).item() == pytest.approx(sum(term.item() for term in terms.values()), rel=1e-5)
    for name, term in terms.items():
        assert abs(term.item()) > 1e-6 and moved(model, term) == MOVES[name], name
    together = set().union(*(MOVES[name] for name in terms))
    assert moved(model, value(stage, batch)) == together
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    moved(model, torch.stack(list(terms_of(model, batch).values())).sum())
    for name, p in model.named_parameters():
        if p.requires_grad:
            assert p.grad is not None
            torch.testing.assert_close(expected[name], p.grad, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("case", [case for case in CASES if case.kind in KINDS], ids=str)
@pytest.mark.parametrize("name", ["codec", "prior", "decoder", "encoder"])
def test_a_step_moves_every_parameter_of_the_stages_parts_and_no_other(case: Case, name: Any):
    model, stage = stage_of(case, name, joint(case) if name == "codec" else None)
    decoders = {decoder for decoder in ("parallel", "autoregressive") if getattr(model, decoder) is not None}
    if name == "decoder":
        parts = {"autoregressive"} if case.after else decoders
    else:
        prior = "prior" if case.model == "vq" else "auxiliary"
        codec = {"encoder", "latents", *decoders, prior}
        parts = {"codec": codec, "prior": {prior}, "encoder": {"encoder"}}[name]
    model.zero_grad()
    stage.loss(batch_of(stage), 0.5).total.backward()
    groups = [{id(p) for p in group} for group in stage.groups]
    for full, parameter in model.named_parameters():
        part = full.split(".")[0]
        assert (parameter.grad is not None) == parameter.requires_grad == (part in parts), full
        assert sum(id(parameter) in group for group in groups) == (part in parts), full
    assert all(
        module.training == (module is not model and part in parts) for part, module in model.named_children()
    )


@pytest.mark.parametrize("name", ["codec", "encoder"])
def test_the_codebook_learns_in_the_codec_stage_alone(name: Any):
    case = Case("image", "vq", "parallel")
    model, stage = stage_of(case, name)
    before = parts_of(model, "latents")
    stage.loss(batch_of(stage), 0.5)
    stage.stepped()
    assert same(before, parts_of(model, "latents")) == (name == "encoder")


@pytest.mark.parametrize("invention", ["vq", "delta"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_finished_codecs_decoders_are_fitted_by_what_samples_cost_given_latents(kind: str, invention: str):
    case = Case(kind, invention, "both")
    model, stage = stage_of(case, "decoder", joint(case))
    batch = batch_of(stage)
    torch.manual_seed(1)
    with torch.no_grad():
        latents = model.infer(batch.samples, mask=batch.mask)
        expected = sum(term.item() for term in decoder_terms(model, batch, latents).values())
    assert value(stage, batch).item() == pytest.approx(expected, rel=1e-4)


def test_priors_are_fitted_by_what_latents_cost():
    model, stage = stage_of(Case("image", "vq", "parallel"), "prior")
    assert isinstance(model, VQVAE) and model.prior is not None
    batch = batch_of(stage)  # type: ignore[assignment]
    codes: Tensor = batch.codes  # type: ignore[attr-defined]
    expected = model.prior.nats(codes).mean() / codes[0].numel()
    assert value(stage, batch).item() == pytest.approx(expected.item(), rel=1e-5)
    model, stage = stage_of(Case("text", "delta", "parallel"), "prior")
    assert isinstance(model, DeltaVAE)
    batch = batch_of(stage)
    torch.manual_seed(1)
    latents = model.infer(batch.samples, mask=batch.mask)
    expected = model.auxiliary_nats(latents).sum() / latents.vectors.numel()
    assert value(stage, batch).item() == pytest.approx(expected.item(), rel=1e-5)
    torch.manual_seed(1)
    kl = (model.auxiliary_nats(latents) - model.posterior_nats(latents)).mean()
    assert stage.loss(batch, 0.5).figures["auxiliary_kl_nats"].item() == pytest.approx(kl.item(), rel=1e-4)


# ---- the delta-VAE's


def delta(case: Case, **changes: Any) -> tuple[DeltaVAE, Stage, Batch]:
    model, stage = stage_of(case, "codec", case.config(**changes))
    assert isinstance(model, DeltaVAE)
    return model, stage, batch_of(stage)


def parts(model: DeltaVAE, batch: Batch) -> tuple[Tensor, Tensor]:
    """-log p(x | z) and KL of every item, for the draw that `value` sees."""
    torch.manual_seed(1)
    latents = model.infer(batch.samples, mask=batch.mask)
    assert model.autoregressive is not None and batch.symbols is not None
    nats = model.autoregressive.nats(batch.symbols.long(), latents.input, None, batch.mask)
    return nats.detach(), model.kl_nats(latents).detach()


IMAGES, TEXTS = Case("image", "delta", "autoregressive"), Case("text", "delta", "autoregressive")
PLAIN: dict[str, Any] = {"latents": PlainGaussianConfig(channels=2), "auxiliary": None}


@pytest.mark.parametrize("case", [IMAGES, TEXTS], ids=str)
def test_the_figures_are_the_negative_elbo_of_a_sample_and_the_kl_of_an_item(case: Case):
    model, stage, batch = delta(case, auxiliary=None)
    nats, kl = parts(model, batch)
    elbo = float((nats + kl).sum()) / batch.dims
    assert value(stage, batch).item() == pytest.approx(elbo, rel=1e-5)
    torch.manual_seed(1)
    figures = stage.loss(batch, 0.5).figures
    assert figures["elbo_bits_per_dim"].item() == pytest.approx(elbo / math.log(2))
    assert figures["kl_nats"].item() == pytest.approx(float(kl.mean()))
    assert stage.status()[0]["information_nats"] <= math.log(len(nats)) + 1e-4
    assert "auxiliary_kl_nats" not in figures


def test_free_bits_are_free_up_to_so_many_nats():
    model, _, batch = delta(TEXTS, **PLAIN)
    nats, kl = parts(model, batch)
    mean, gradients = kl.mean().item(), []
    for free, paid in ((mean / 2, mean), (3 * mean, 3 * mean)):
        _, stage, _ = delta(TEXTS, **PLAIN, objective=FreeBitsObjectiveConfig(nats=free))
        wanted = (nats.sum().item() + len(nats) * paid) / batch.dims
        assert value(stage, batch).item() == pytest.approx(wanted, rel=1e-5)
    for objective in (FreeBitsObjectiveConfig(nats=3 * mean), BetaObjectiveConfig(beta=1e-30)):
        model, stage, _ = delta(TEXTS, **PLAIN, objective=objective)
        value(stage, batch).backward()  # below the free nats nothing pulls at the KL
        gradients.append([p.grad for p in model.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(("progress", "weight"), [(0.0, 0.0), (0.2, 0.5), (0.4, 1.0), (0.9, 1.0)])
def test_annealing_goes_from_nothing_to_the_elbo(progress: float, weight: float):
    model, stage, batch = delta(TEXTS, **PLAIN, objective=AnnealedObjectiveConfig(share=0.4))
    nats, kl = parts(model, batch)
    wanted = float((nats + weight * kl).sum()) / batch.dims
    assert value(stage, batch, progress).item() == pytest.approx(wanted, rel=1e-5)


def test_beta_weighs_the_kl():
    model, stage, batch = delta(TEXTS, **PLAIN, objective=BetaObjectiveConfig(beta=3.0))
    nats, kl = parts(model, batch)
    assert value(stage, batch).item() == pytest.approx(float((nats + 3 * kl).sum()) / batch.dims, rel=1e-5)


@pytest.mark.parametrize("case", [IMAGES, TEXTS, Case("toy", "delta", "both")], ids=str)
def test_the_auxiliary_prior_changes_nothing_else(case: Case, tmp_path):
    with_it = train(case, tmp_path / "with", steps=6, stages=("codec",)).model
    without = train(case, tmp_path / "without", case.config(auxiliary=None), steps=6, stages=("codec",)).model
    names = ("encoder", "latents", "parallel", "autoregressive")
    assert same(parts_of(with_it, *names), parts_of(without, *names))
    assert parts_of(with_it, "auxiliary") and not parts_of(without, "auxiliary")


@pytest.mark.parametrize("case", [IMAGES, TEXTS, Case("toy", "delta", "parallel")], ids=str)
def test_a_kl_below_the_committed_rate_stops_the_training(case: Case, monkeypatch: pytest.MonkeyPatch):
    _, stage, batch = delta(case)
    assert stage.loss(batch, 0.0).figures["committed_nats"] > 0
    rate = AR1Latents.committed_rate_nats
    monkeypatch.setattr(AR1Latents, "committed_rate_nats", lambda self, steps: 100 + rate(self, steps))
    with pytest.raises(AssertionError, match="below the committed rate"):
        stage.loss(batch, 0.0)


def test_every_item_has_the_floor_of_its_length():
    model, stage, batch = delta(TEXTS)
    assert model.latents is not None and batch.mask is not None
    lengths = [-(-int(mask.sum()) // 2) for mask in batch.mask]
    wanted = sum(model.latents.committed_rate_nats(n) for n in lengths) / len(lengths)
    assert len(set(lengths)) > 1
    assert stage.loss(batch, 0.0).figures["committed_nats"].item() == pytest.approx(wanted, rel=1e-6)


def test_every_cell_of_a_step_commits_its_rate():
    case = Case("toy", "delta", "autoregressive")
    encoder = replace(case.config().model.encoder, hop=(2, 2, 2))
    model, stage, batch = delta(case, encoder=encoder)
    assert model.latents is not None
    wanted = 4 * model.latents.committed_rate_nats(3)
    figures = stage.loss(batch, 0.0).figures
    assert figures["committed_nats"].item() == pytest.approx(wanted, rel=1e-6)
    assert figures["kl_nats"].item() >= wanted * (1 - 1e-4)


def test_one_latent_step_is_warned_of():
    _, stage, _ = delta(IMAGES, encoder=replace(IMAGES.config().model.encoder, hop=(6,)))
    assert "commits nothing" in (stage.status()[1] or "")
    assert delta(IMAGES)[1].status()[1] is None


# ---- labels


LABELS = (
    LabelConfig(name="class", values=("c0", "c1", "c2")),
    LabelConfig(name="action", values=("a", "b"), along=True),
)


def labelled(case: Case) -> RunConfig:
    model, names = case.config().model, ("class", "action")
    changes: dict[str, Any] = {"labels": LABELS}
    for part in ("parallel", "autoregressive", "prior"):
        if (section := getattr(model, part, None)) is not None:
            together = {"training": "joint"} if part == "autoregressive" else {}
            changes[part] = replace(section, labels=names, **together)
    return case.config(**changes)


def test_a_tenth_of_the_items_hide_a_label():
    torch.manual_seed(0)
    for shape in ((20_000, 2), (20_000, 3, 2)):
        labels = hidden(torch.zeros(shape, dtype=torch.int64))
        gone = (labels == -1).reshape(len(labels), -1, 2)
        assert bool((gone.all(1) == gone.any(1)).all()), "an item's rows hide a label together"
        shares = gone.any(1).float().mean(0)
        assert all(abs(share - 0.1) < 0.01 for share in shares.tolist())
        assert 0.005 < (gone[:, 0, 0] & gone[:, 0, 1]).float().mean() < 0.015, "one hides without the other"


@pytest.mark.parametrize("kind", ["image", "text", "toy"])
@pytest.mark.parametrize(
    ("invention", "name"),
    [("vq", "codec"), ("vq", "prior"), ("vq", "decoder"), ("delta", "codec"), ("delta", "decoder")],
)
def test_labels_condition_priors_and_decoders_which_learn_to_do_without(kind: str, invention: str, name: Any):
    case = Case(kind, invention, "both")
    model, stage = stage_of(case, name, labelled(case), labels=True)
    tables = {
        id(p): n for n, p in model.named_parameters() if p.requires_grad and p.ndim == 2 and len(p) in (3, 4)
    }
    sums: dict[str, Tensor] = {}
    for number in range(12):
        model.zero_grad()
        torch.manual_seed(number)
        stage.loss(batch_of(stage, number), 0.5).total.backward()
        for p in model.parameters():
            if id(p) in tables and p.grad is not None:
                sums[tables[id(p)]] = sums.get(tables[id(p)], 0) + p.grad.abs().sum(1)
    of_labels = {n: rows for n, rows in sums.items() if ".labels." in n or "parallel.embeddings" in n}
    users = {"prior"} if name == "prior" else {"parallel", "autoregressive"}
    seen = {(table.split(".")[0], len(rows)) for table, rows in of_labels.items()}
    assert seen == {(user, values + 1) for user in users for values in (3, 2)}
    for table, rows in of_labels.items():
        assert bool((rows > 0).all()), f"{table}: every value, and the unknown one, learns: {rows}"
