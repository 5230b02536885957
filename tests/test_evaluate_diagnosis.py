"""Diagnoses: figures that must hold on models of which one knows what they do."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from halves_parts import codebook_model, images
from latentpress.cli import main
from latentpress.config import (
    AnticausalConfig,
    AuxiliaryConfig,
    DeltaVAEConfig,
    ImageConfig,
    SequenceDecoderConfig,
    TextConfig,
)
from latentpress.data.loading import Pool, load_pool
from latentpress.data.sources import ItemRef, Source, array_source, open_sources
from latentpress.errors import ItemError, LatentpressError
from latentpress.evaluate.codebook_diagnosis import CodebookDiagnosis, diagnose_codebook
from latentpress.evaluate.diagnosis import diagnose
from latentpress.evaluate.gathering import gather_symbols, spread
from latentpress.evaluate.rates import prior_nats, reconstruction_nats
from latentpress.items.image import write_png
from latentpress.model import VQVAE, DeltaVAE, build

TINY = DeltaVAEConfig(
    item=TextConfig(),
    encoder=AnticausalConfig(width=8, depth=1, hidden=8, stride=4, radius=1, embedding=4),
    decoder=SequenceDecoderConfig(width=8, depth=1, radius=1, embedding=4, head_width=8, map_width=8),
    auxiliary=AuxiliaryConfig(width=4),
)


def pool_of(pixels: np.ndarray, labels: list[str] | None = None) -> Pool:
    return load_pool(array_source(pixels, labels, channels=1))


@pytest.fixture(scope="module")
def model() -> VQVAE:
    return codebook_model(pixels=False)


@pytest.fixture(scope="module")
def delta() -> DeltaVAE:
    torch.manual_seed(0)
    return build(TINY).eval()


def test_figures_of_codes_are_the_models_own(model: VQVAE) -> None:
    pixels = images()
    found = diagnose_codebook(model, pool_of(pixels))
    codes = model.encode(pixels)
    assert found.num_items == len(pixels) and found.codes_per_item == codes[0].numel()
    assert found.reconstruction_nats == pytest.approx(float(reconstruction_nats(model, pixels, codes).mean()))
    assert found.prior_nats == pytest.approx(float(prior_nats(model, codes).mean()))
    assert found.used == len(codes.unique()) and 1 <= found.perplexity <= found.used
    assert found.shuffled_gap_nats is not None and found.shuffled_gap_bits_per_dim == pytest.approx(
        found.shuffled_gap_nats / math.log(2) / found.dims_per_item
    )
    assert abs(found.shuffled_gap_nats) > 0.05
    told = json.loads(found.to_json())
    assert told["verdict"] == found.verdict and told["bits_per_code"] == found.bits_per_code


def test_the_gap_is_with_another_images_codes(model: VQVAE) -> None:
    pair = images(2)
    codes = model.encode(pair)
    swapped = reconstruction_nats(model, pair, codes.flip(0)) - reconstruction_nats(model, pair, codes)
    found = diagnose_codebook(model, pool_of(pair))
    assert found.shuffled_gap_nats == pytest.approx(float(swapped.mean()), rel=1e-5)


def test_a_decoder_that_does_not_listen_is_told(model: VQVAE) -> None:
    deaf = codebook_model(pixels=False)
    with torch.no_grad():
        for parameter in deaf.decoder.parameters():
            parameter.zero_()
    found = diagnose_codebook(deaf, pool_of(images()))
    assert found.shuffled_gap_nats == pytest.approx(0, abs=1e-6)
    told = replace(found, perplexity=6.0).verdict
    assert "does not use the codes" in told


def test_one_code_is_a_collapse(model: VQVAE) -> None:
    found = diagnose_codebook(model, pool_of(np.repeat(images(1), 4, axis=0)))
    assert found.shuffled_gap_nats == pytest.approx(0, abs=1e-6)
    assert "collapsed" in replace(found, used=1, perplexity=1.0).verdict
    assert "collapsed" in replace(found, codebook_size=512, num_items=1000, perplexity=20.0).verdict


def test_verdicts_of_codes() -> None:
    found = CodebookDiagnosis(
        num_items=100,
        dims_per_item=100.0,
        codes_per_item=10.0,
        codebook_size=64,
        num_codebooks=1,
        used=60,
        perplexity=40.0,
        reconstruction_nats=300.0,
        prior_nats=30.0,
    )
    assert "two images of one size" in found.verdict
    found = replace(found, shuffled_gap_nats=10.0, shuffled_dims_per_item=100.0)
    assert found.verdict.startswith("The codes are in use") and "0.144 bits/dim" in found.verdict


def test_images_of_several_sizes_change_codes_within_a_size(model: VQVAE) -> None:
    sizes = [(12, 12), (8, 16), (12, 12), (5, 7)]
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 256, (*size, 1)).astype(np.uint8) for size in sizes]
    pool = load_pool(Source(tuple(ItemRef(f"{n}.png", None, lambda a=a: a) for n, a in enumerate(arrays))))
    found = diagnose_codebook(model, pool)
    assert found.dims_per_item == np.mean([height * width for height, width in sizes])
    assert found.shuffled_dims_per_item == 144
    alone = diagnose_codebook(model, load_pool(Source(tuple(pool.items[n] for n in (0, 1)))))
    assert alone.shuffled_gap_nats is None and "two images of one size" in alone.verdict


def test_the_probe_reads_labels_from_codes(model: VQVAE) -> None:
    dark, bright = images(16) // 8, 255 - images(16) // 8
    labels = ["dark"] * 16 + ["bright"] * 16
    found = diagnose_codebook(model, pool_of(np.concatenate([dark, bright]), labels))
    assert found.probe_accuracy is not None and found.probe_accuracy > 0.9 and found.majority_share == 0.5
    assert diagnose_codebook(model, pool_of(dark)).probe_accuracy is None


def test_one_item_is_too_few(model: VQVAE, delta: DeltaVAE) -> None:
    with pytest.raises(LatentpressError, match="two or more"):
        diagnose_codebook(model, pool_of(images(1)))
    with pytest.raises(LatentpressError, match="two or more"):
        diagnose(delta, np.zeros((1, 8, 1), np.uint8))


def test_items_are_spread_evenly() -> None:
    for count, most in ((10, 4), (4, 10), (1000, 7), (5, 5), (0, 3)):
        chosen = spread(count, most)
        assert len(chosen) == min(count, most) and len(set(chosen.tolist())) == len(chosen)
        if len(chosen) > 1:
            steps = np.diff(chosen)
            assert chosen[0] == 0 and steps.max() - steps.min() <= 1 and chosen[-1] < count


def test_windows_of_texts_are_whole_and_do_not_overlap(delta: DeltaVAE, tmp_path: Path) -> None:
    texts = {"a/one.txt": b"0123456789", "b/two.txt": b"abc", "b/three.txt": b"ABCDEFGH"}
    for name, data in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    source = open_sources([tmp_path], kind="text")
    gathered = gather_symbols(delta, source, 100, window=4)
    assert [bytes(window) for window in gathered.symbols] == [b"0123", b"4567", b"ABCD", b"EFGH"]
    assert gathered.labels is not None and gathered.labels.tolist() == ["a", "a", "b", "b"]
    some = gather_symbols(delta, source, 2, window=4)
    assert [bytes(window) for window in some.symbols] == [b"0123", b"ABCD"]
    with pytest.raises(ItemError, match="no text has 512 bytes"):
        gather_symbols(delta, source, 2)


def test_images_of_another_size_are_refused(tmp_path: Path) -> None:
    model = build(replace(TINY, item=ImageConfig(channels=1, size=(12, 12)))).eval()
    gathered = gather_symbols(model, array_source(images(6), list("aabbcc")), 3)
    assert gathered.symbols.shape == (3, 12, 12, 1) and gathered.labels is not None
    np.testing.assert_array_equal(gathered.symbols, images(6)[[0, 2, 4]])
    with pytest.raises(ItemError, match="8 x 9 pixels, and the model takes images of 12 x 12"):
        gather_symbols(model, array_source(np.zeros((2, 8, 9, 1), np.uint8)), 3)


def test_what_a_delta_vae_is_compared_with_has_no_latents(delta: DeltaVAE) -> None:
    symbols = np.random.default_rng(0).integers(0, 256, (6, 16, 1)).astype(np.uint8)
    alone = build(replace(TINY, latents=None, auxiliary=None)).eval()
    found = diagnose(delta, symbols, alone=alone)
    assert found.alone_nats is not None and found.kl_nats is not None and found.committed_nats is not None
    assert found.kl_nats >= found.committed_nats - 1e-4
    with pytest.raises(LatentpressError, match="without latents"):
        diagnose(delta, symbols, alone=delta)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: VQVAE, delta: DeltaVAE) -> Path:
    monkeypatch.chdir(tmp_path)
    for number, image in enumerate(images(6)):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(write_png(image))
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_bytes(bytes(range(32, 127)) * 3)
    model.save_pretrained("model")
    delta.save_pretrained("delta")
    build(replace(TINY, latents=None, auxiliary=None)).eval().save_pretrained("alone")
    return tmp_path


def test_the_verb(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", "model", "photos"]) == 0
    out = capsys.readouterr().out
    for part in ("nats an item | bits an item | bits/dim |", "perplexity", "bits a code", "classifier"):
        assert part in out
    assert out.splitlines()[-1].startswith("The ") and out.splitlines()[-1].endswith(".")
    assert main(["diagnose", "model", "photos", "--items", "4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_items"] == 4
    texts = ["diagnose", "delta", "texts", "--window", "20"]
    assert main([*texts, "--alone", "alone"]) == 0
    out = capsys.readouterr().out
    for part in ("-ELBO", "decoder alone", "committed rate", "information", "active units", "14 items of 20"):
        assert part in out
    assert main([*texts, "--json", "--items", "5", "--seed", "1"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["num_items"] == 5 and told["alone_nats"] is None and told["verdict"]
    assert main(["diagnose", "alone", "texts", "--window", "20"]) == 0
    assert "decoder alone" in capsys.readouterr().out


def test_what_cannot_be_diagnosed_is_one_line(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", "delta", "texts"]) == 1  # no text is as long
    assert main(["diagnose", "delta", "texts", "--window", "20", "--alone", "delta"]) == 1
    assert main(["diagnose", "model", "photos/a/0.png"]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 3
    assert main(["diagnose", "model", "photos", "--alone", "alone"]) == 2
    assert main(["split", "model", "-o", "halves"]) == 0
    capsys.readouterr()
    for half, other in (("encoder", "decoder"), ("decoder", "encoder")):
        assert main(["diagnose", f"halves/{half}", "photos"]) == 1
        assert f"it has no {other}; use the {other} half or the whole" in capsys.readouterr().err
