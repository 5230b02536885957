"""What every training keeps, whatever it trains: kinds of items x inventions x decoders."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from latentpress.model import DeltaVAE, load
from latentpress.train import Progress, TrainResult
from latentpress.train.plan import codec_decoders
from small.training import CASES, Case, dataset_for, dying_at, parts_of, reading_toys, same, train, weights

QUICK = (
    "image-vq-parallel",
    "colour-vq-both",
    "text-vq-autoregressive",
    "toy-vq-both",
    "image-delta-both",
    "colour-delta-autoregressive",
    "text-delta-both",
    "toy-delta-parallel",
)
PARAMETERS = [pytest.param(c, id=str(c), marks=[] if str(c) in QUICK else pytest.mark.slow) for c in CASES]
Run = tuple[Case, TrainResult, list[Progress]]
KNOWN = {"parallel", "autoregressive", "encoder", "latents", "prior", "auxiliary"}


@pytest.fixture(autouse=True, scope="module")
def _toys():
    with reading_toys():
        yield


@pytest.fixture(scope="module", params=PARAMETERS)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run from its start to its end, and what it reported."""
    seen: list[Progress] = []
    folder = tmp_path_factory.mktemp("whole")
    return request.param, train(request.param, folder, progress=seen.append), seen


def stages(case: Case) -> list[str]:
    return ["codec", "prior", *(["decoder"] if case.after else [])]


def test_all_stages_run_and_report(whole: Run):
    case, result, seen = whole
    assert result.finished and result.steps == 6
    assert list(dict.fromkeys(p.stage for p in seen)) == stages(case)
    wanted = {
        f"{decoder}_bits_per_dim" for decoder in ("parallel", "autoregressive") if decoder in case.decoders
    }
    wanted = {"parallel_bits_per_dim", "autoregressive_bits_per_dim"} if case.decoders == "both" else wanted
    wanted |= {"psnr_db"} if case.decoders != "autoregressive" else set()
    wanted |= {"perplexity", "bits_per_code"} if case.model == "vq" else set()
    if case.model == "delta":
        wanted |= {"elbo_bits_per_dim", "auxiliary_elbo_bits_per_dim", "kl_nats", "auxiliary_kl_nats"}
        wanted |= {"information_nats", "active_units"}
    assert result.figures.keys() == wanted
    assert all(math.isfinite(value) for value in result.figures.values())


def test_the_folder_holds_the_model_and_the_run(whole: Run):
    case, result, _ = whole
    model = load(result.folder, "cpu")
    assert same(model.state_dict(), result.model.state_dict()) and model.codes_id == result.model.codes_id
    assert model.integer.ids == result.model.integer.ids
    forms = {"prior"} | ({"decoder"} if case.decoders != "parallel" else set())
    assert model.integer.ids.keys() == forms | ({"encoder"} if case.model == "delta" else set())
    card = (result.folder / "README.md").read_text()
    assert ("VQ-VAE" if case.model == "vq" else "delta-VAE") in card
    assert all(f"| {value:.4g} |" in card for value in result.figures.values())
    lines = [json.loads(line) for line in (result.folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == sorted(line["step"] for line in lines)
    assert {line["stage"] for line in lines} == set(stages(case))
    sheets = list((result.folder / "run" / "samples").glob("*.png"))
    assert bool(sheets) == (case.kind != "text" and case.decoders != "autoregressive")


def test_codes_decode(whole: Run):
    case, result, _ = whole
    dataset, model = dataset_for(case.kind), result.model
    items = np.stack(
        [dataset[i] for i in np.flatnonzero((dataset.extents == dataset.extents.max(0)).all(1))[:2]]
    )
    codes = model.encode(items)
    assert model.decode(codes, items.shape[1:-1]).shape == items.shape


def test_the_same_call_after_the_end_changes_nothing(whole: Run):
    case, result, _ = whole
    before = weights(result.folder)
    again = train(case, result.folder)
    assert again.finished and again.steps == 6 and weights(result.folder) == before
    assert again.figures == result.figures


@pytest.mark.parametrize("at", [1, 2, 4, 5])
def test_an_interrupted_run_ends_bit_identical(at: int, whole: Run, tmp_path: Path):
    case, result, _ = whole
    with pytest.raises(SystemExit):
        train(case, tmp_path, progress=dying_at(at), checkpoint_seconds=0)
    torch.manual_seed(at)
    resumed = train(case, tmp_path)
    assert weights(tmp_path) == weights(result.folder) and resumed.figures == result.figures
    assert resumed.model.integer.ids == result.model.integer.ids


def test_a_kill_before_a_model_is_written_costs_no_bit(
    whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """All steps of a stage are done and saved; only what comes after them is to be done again."""
    case, result, _ = whole
    kind, save = type(result.model), type(result.model).save_pretrained
    for stage in range(len(stages(case))):
        calls = iter(range(9))

        def killed(model, folder, *, card=""):
            if next(calls) == stage:  # noqa: B023
                raise SystemExit
            save(model, folder, card=card)

        folder = tmp_path / str(stage)
        with monkeypatch.context() as patch, pytest.raises(SystemExit):
            patch.setattr(kind, "save_pretrained", killed)
            train(case, folder)
        train(case, folder)
        assert weights(folder) == weights(result.folder)


@pytest.mark.parametrize("stage", ["prior", "decoder", "encoder"])
def test_a_stage_alone_changes_its_part_alone(stage: str, whole: Run, tmp_path: Path):
    case, result, _ = whole
    (tmp_path / "model.safetensors").write_bytes(weights(result.folder))
    before, options = load(tmp_path, "cpu"), {"steps": 3, "stages": (stage,), "seed": 5}
    with pytest.raises(SystemExit):
        train(case, tmp_path, progress=dying_at(1), checkpoint_seconds=0, **options)
    after = train(case, tmp_path, **options).model
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model.safetensors").write_bytes(weights(result.folder))
    assert same(train(case, tmp_path / "other", **options).model.state_dict(), after.state_dict()), (
        "bit-identical"
    )
    names = {name.split(".")[0] for name in before.state_dict()}
    changed = {name for name in names if not same(parts_of(before, name), parts_of(after, name))}
    if stage == "decoder":
        fitted = {"autoregressive"} if case.after else set(codec_decoders(before.config))
    else:
        fitted = {"encoder": {"encoder"}, "prior": {"prior" if case.model == "vq" else "auxiliary"}}[stage]
    assert names <= KNOWN and changed == fitted
    ids = before.integer.ids.keys() & after.integer.ids.keys()
    forms = {form for form in ids if before.integer.ids[form] != after.integer.ids[form]}
    made = {"prior": "prior", "encoder": "encoder", "decoder": "decoder"}[stage]
    assert forms <= {made} and (made not in ids or forms == {made})
    assert stage == "decoder" or after.integer.archive_decoder is None or "decoder" not in forms
    if case.model == "vq" or stage == "encoder":
        assert after.codes_id == before.codes_id, "codes keep their meaning"
    if isinstance(before, DeltaVAE) and isinstance(after, DeltaVAE) and stage == "prior":
        assert before.integer.prior.step == after.integer.prior.step  # type: ignore[union-attr]
    assert weights(tmp_path) == weights(tmp_path / "other")
