"""Halves of models: no tensor of the other side, and apart the same results as together."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from halves_parts import codebook_model, committed_model, images
from latentpress.cli import main
from latentpress.config import DeltaVAEConfig, RunConfig, VQVAEConfig
from latentpress.errors import CheckpointError, ConfigError, LatentpressError, MissingPartError
from latentpress.generate import generate, generate_delta
from latentpress.items.image import write_png
from latentpress.model import VQVAE, AnyModel, DeltaVAE, build, load, split_model
from latentpress.press import compress, decode_archive, encode_archive, inspect_archive, verify_archive

MAKERS = {"codebook": codebook_model, "committed": committed_model}
ENCODER_ONLY = ("encoder",)
DECODER_ONLY = ("decoder", "likelihood", "pixels", "exact_pixels", "exact_decoder")


@pytest.fixture(scope="module", params=list(MAKERS))
def whole(request: pytest.FixtureRequest) -> AnyModel:
    return MAKERS[request.param]()


@pytest.fixture
def folder(whole: AnyModel, tmp_path: Path) -> Path:
    whole.save_pretrained(tmp_path / "model", card="# Whole\n\nLicence: all mine.\n")
    split_model(whole).save_pretrained(tmp_path, card="# Whole\n\nLicence: all mine.\n")
    return tmp_path


def named(pixels: np.ndarray) -> dict[str, np.ndarray]:
    return {f"{number}.png": image for number, image in enumerate(pixels)}


def test_no_half_holds_a_tensor_of_the_other(whole: AnyModel, folder: Path) -> None:
    parts = {
        name: {key.split(".")[0] for key in load_file(folder / name / "model.safetensors")}
        for name in ("model", "encoder", "decoder")
    }
    assert not parts["encoder"].intersection(DECODER_ONLY) and parts["encoder"].issuperset(ENCODER_ONLY)
    assert not parts["decoder"].intersection(ENCODER_ONLY) and "decoder" in parts["decoder"]
    assert parts["encoder"] | parts["decoder"] == parts["model"]
    shared = {"codebook": {"latents", "prior", "exact_prior"}, "committed": {"auxiliary", "exact_prior"}}
    assert parts["encoder"] & parts["decoder"] == shared[whole.config.kind]
    for name in ("encoder", "decoder"):
        files = sorted(path.name for path in (folder / name).iterdir())
        assert files == ["README.md", "config.json", "model.safetensors"]
        card = (folder / name / "README.md").read_text()
        assert card.startswith(f"# The {name} half") and "Licence: all mine." in card


def test_ids_are_the_whole_models(whole: AnyModel, folder: Path) -> None:
    encoder, decoder = load(folder / "encoder", "cpu"), load(folder / "decoder", "cpu")
    assert type(encoder) is type(decoder) is type(whole) and (encoder.half_name, decoder.half_name) == (
        "encoder",
        "decoder",
    )
    for half in (encoder, decoder):
        assert (half.prior_id, half.codebook_id) == (whole.prior_id, whole.codebook_id)
        assert (half.sizes, half.hop, half.device) == (whole.sizes, whole.hop, whole.device)
    assert decoder.pixels_id == whole.pixels_id and not any(encoder.pixels_id)


def test_apart_is_as_together(whole: AnyModel, folder: Path) -> None:
    encoder, decoder = load(folder / "encoder", "cpu"), load(folder / "decoder", "cpu")
    items = named(images())
    archive = encode_archive(encoder, items)
    assert archive == encode_archive(whole, items)
    verify_archive(archive, encoder)  # codes are all that it proves
    verify_archive(archive, decoder)
    assert torch.equal(encoder.encode(images()), whole.encode(images()))
    together = dict(decode_archive(archive, whole))
    for name, pixels in decode_archive(archive, decoder):
        np.testing.assert_array_equal(pixels, together.pop(name))
    assert not together


def test_the_decoder_half_restores_lossless_archives(whole: AnyModel, folder: Path) -> None:
    archive = encode_archive(whole, named(images()), lossless=True)
    assert inspect_archive(archive).whole == 0
    decoder = load(folder / "decoder", "cpu")
    verify_archive(archive, decoder)
    for (name, pixels), original in zip(decode_archive(archive, decoder), images(), strict=True):
        np.testing.assert_array_equal(pixels, original, err_msg=name)


def test_the_decoder_half_draws_what_the_whole_draws(whole: AnyModel, folder: Path) -> None:
    decoder, encoder = load(folder / "decoder", "cpu"), load(folder / "encoder", "cpu")
    if isinstance(whole, VQVAE):
        assert isinstance(decoder, VQVAE) and isinstance(encoder, VQVAE)
        drawn = generate(decoder, 2, size=(8, 8))
        np.testing.assert_array_equal(drawn, generate(whole, 2, size=(8, 8)))
        with pytest.raises(MissingPartError, match="has no decoder"):
            generate(encoder, 1, size=(8, 8))
    else:
        assert isinstance(decoder, DeltaVAE) and isinstance(encoder, DeltaVAE)
        np.testing.assert_array_equal(generate_delta(decoder, 2), generate_delta(whole, 2))
        with pytest.raises(MissingPartError, match="has no decoder"):
            generate_delta(encoder, 1)


def test_what_a_half_lacks_is_said(whole: AnyModel, folder: Path, tmp_path: Path) -> None:
    encoder, decoder = load(folder / "encoder", "cpu"), load(folder / "decoder", "cpu")
    items = named(images())
    archive, exact = encode_archive(whole, items), encode_archive(whole, items, lossless=True)
    no_decoder = "this is the encoder half of a model: it has no decoder; use the decoder half or the whole"
    no_encoder = "this is the decoder half of a model: it has no encoder; use the encoder half or the whole"
    for pressed in (archive, exact):
        with pytest.raises(MissingPartError, match=no_decoder):
            list(decode_archive(pressed, encoder))
    with pytest.raises(MissingPartError, match=no_decoder):
        verify_archive(exact, encoder)
    for lossless in (False, True):
        with pytest.raises(MissingPartError, match=no_encoder):
            encode_archive(decoder, items, lossless=lossless)
    with pytest.raises(MissingPartError, match="lossless pressing needs; use the whole model"):
        compress(encoder, [_pictures(tmp_path)], tmp_path / "out.lpz", lossless=True)
    assert not (tmp_path / "out.lpz").exists()


def test_halves_are_not_parted_and_not_trained(whole: AnyModel) -> None:
    halves = split_model(whole)
    for half in (halves.encoder, halves.decoder):
        with pytest.raises(MissingPartError, match="half of a model: it has no other half"):
            split_model(half)
        with pytest.raises(ConfigError, match=r"model\.half"):
            RunConfig(model=half.config)


def test_a_decoder_alone_has_no_halves() -> None:
    with pytest.raises(LatentpressError, match="no halves"):
        split_model(build(DeltaVAEConfig(latents=None)))
    with pytest.raises(ConfigError, match="half"):
        DeltaVAEConfig(latents=None, half="decoder")
    for wrong in ("ab", "x" * 32):
        with pytest.raises(ConfigError, match="decoder_id"):
            DeltaVAEConfig(half="encoder", decoder_id=wrong)
    with pytest.raises(ConfigError, match="decoder_id"):
        DeltaVAEConfig(half="decoder", decoder_id="0" * 32)


def test_tensors_of_the_other_half_are_refused(whole: AnyModel, tmp_path: Path) -> None:
    halves = split_model(whole)
    halves.encoder.exact_forms = whole.exact_forms  # type: ignore[method-assign]
    halves.encoder.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="does not fit the configuration"):
        load(tmp_path, "cpu")
    halves = split_model(whole)
    halves.decoder.state_dict = whole.state_dict  # type: ignore[method-assign]
    halves.decoder.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="does not fit its configuration: see encoder"):
        load(tmp_path, "cpu")


@pytest.mark.parametrize("name", ["encoder", "decoder"])
def test_no_flipped_bit_of_a_half_is_believed(whole: AnyModel, folder: Path, name: str) -> None:
    path = folder / name / "model.safetensors"
    data = path.read_bytes()
    before = load(folder / name, "cpu")
    for place in np.random.default_rng(0).integers(0, len(data), 40):
        damaged = bytearray(data)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        try:
            after = load(folder / name, "cpu")
        except CheckpointError:
            continue
        assert after.config == before.config and after.codebook_id == before.codebook_id


def _pictures(folder: Path) -> Path:
    pictures = folder / "pictures"
    pictures.mkdir(exist_ok=True)
    for number, image in enumerate(images()):
        (pictures / f"{number}.png").write_bytes(write_png(image))
    return pictures


def test_each_half_loads_in_a_process_of_its_own(whole: AnyModel, folder: Path) -> None:
    pictures, archive, out = _pictures(folder), folder / "a.lpz", folder / "out"
    run = [sys.executable, "-m", "latentpress"]
    (folder / "model").rename(folder / "elsewhere")
    for half, other, args in (
        ("encoder", "decoder", ["compress", str(pictures), "-o", str(archive)]),
        ("decoder", "encoder", ["decompress", str(archive), "-o", str(out)]),
    ):
        done = subprocess.run([*run, *args, "-m", str(folder / half)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        again = [*run, *args, "-m", str(folder / other), "-f"]
        wrong = subprocess.run(again, capture_output=True, text=True)
        assert wrong.returncode == 1 and wrong.stderr.count("\n") == 1
        assert wrong.stderr.startswith(f"this is the {other} half") or f"the {other} half of a model" in (
            wrong.stderr
        )
    together = dict(decode_archive(archive.read_bytes(), whole))
    assert {path.name for path in out.iterdir()} == set(together)


def test_the_verb(whole: AnyModel, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split = ["split", str(folder / "model"), "-o", str(folder / "halves")]
    assert main(split) == 0
    assert "split " in capsys.readouterr().err
    assert main(split) == 1 and "exists already; -f overwrites it" in capsys.readouterr().err
    assert main([*split, "-f"]) == 0
    for name in ("encoder", "decoder"):
        half = folder / "halves" / name
        assert (half / "model.safetensors").read_bytes() == (folder / name / "model.safetensors").read_bytes()
        assert main(["inspect", str(half)]) == 0
        assert f"the {name} half of a model" in capsys.readouterr().out
        assert main(["inspect", str(half), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["half"] == name
        assert main(["split", str(half), "-o", str(folder / "quarters")]) == 1
        assert capsys.readouterr().err.count("\n") == 1
    assert main(["inspect", str(folder / "model"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["half"] is None


def test_a_model_without_exact_forms_is_parted_too() -> None:
    config = replace(codebook_model().config, prior=None, pixels=None)
    assert isinstance(config, VQVAEConfig)
    halves = split_model(build(config).eval())
    archive = encode_archive(halves.encoder, named(images()))
    assert len(dict(decode_archive(archive, halves.decoder))) == len(images())
