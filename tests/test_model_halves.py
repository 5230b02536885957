"""Halves of models: no tensor of the other side, and apart the same results as together."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from latentpress.cli import main
from latentpress.config import DeltaVAEConfig, RunConfig
from latentpress.errors import CheckpointError, ConfigError, LatentpressError, MissingPartError
from latentpress.generate import generate
from latentpress.items import Image
from latentpress.items.base import Content
from latentpress.model import Model, build, load, split_model
from latentpress.press import compress, decode_archive, encode_archive, verify_archive
from small.archives import codec, items_for
from small.configs import ITEMS, vq_vae
from small.models import MODELS, batch_of, finished, small_model

ENCODER_ONLY = {"encoder", "integer.encoder"}
DECODER_ONLY = {"parallel", "autoregressive", "integer.decoder"}


@pytest.fixture(scope="module", params=MODELS)
def whole(request: pytest.FixtureRequest) -> Model:
    return small_model(request.param)


@pytest.fixture
def folder(whole: Model, tmp_path: Path) -> Path:
    whole.save_pretrained(tmp_path / "model", card="# Whole\n\nLicence: all mine.\n")
    split_model(whole).save_pretrained(tmp_path, card="# Whole\n\nLicence: all mine.\n")
    return tmp_path


def named(model: Model, count: int = 6) -> dict[str, np.ndarray]:
    return {f"{number}.png": item for number, item in enumerate(batch_of(model.item, count))}


def part_of(tensor: str) -> str:
    first, second, *_ = tensor.split(".")
    return f"{first}.{second}" if first == "integer" else first


def test_no_half_holds_a_tensor_of_the_other(whole: Model, folder: Path) -> None:
    parts = {
        name: {part_of(key) for key in load_file(folder / name / "model.safetensors")}
        for name in ("model", "encoder", "decoder")
    }
    assert not parts["encoder"] & DECODER_ONLY and "encoder" in parts["encoder"]
    assert not parts["decoder"] & ENCODER_ONLY and parts["decoder"] & DECODER_ONLY
    assert parts["encoder"] | parts["decoder"] == parts["model"]
    shared = parts["encoder"] & parts["decoder"]
    assert "integer.prior" in shared and shared == parts["model"] - ENCODER_ONLY - DECODER_ONLY
    for name in ("encoder", "decoder"):
        files = sorted(path.name for path in (folder / name).iterdir())
        assert files == ["README.md", "config.json", "model.safetensors"]
        card = (folder / name / "README.md").read_text()
        assert card.startswith(f"# The {name} half") and "Licence: all mine." in card


def test_ids_are_the_whole_models(whole: Model, folder: Path) -> None:
    encoder, decoder = load(folder / "encoder", "cpu"), load(folder / "decoder", "cpu")
    assert type(encoder) is type(decoder) is type(whole)
    assert (encoder.half_name, decoder.half_name) == ("encoder", "decoder")
    for half in (encoder, decoder):
        assert half.codes_id == whole.codes_id and half.integer.ids["prior"] == whole.integer.ids["prior"]
        assert (half.alphabets, half.hop, half.stochastic) == (whole.alphabets, whole.hop, whole.stochastic)
    assert decoder.integer.ids.get("decoder") == whole.integer.ids.get("decoder")
    assert "decoder" not in encoder.integer.ids


def test_apart_is_as_together(whole: Model, folder: Path) -> None:
    encoder, decoder = load(folder / "encoder", "cpu"), load(folder / "decoder", "cpu")
    items = named(whole)
    archive = encode_archive(encoder, items)
    assert archive == encode_archive(whole, items)
    verify_archive(archive, encoder)  # codes are all that it proves
    verify_archive(archive, decoder)
    batch = np.stack(list(items.values()))
    assert torch.equal(encoder.encode(batch), whole.encode(batch))
    together = dict(decode_archive(archive, whole))
    for name, samples in decode_archive(archive, decoder):
        np.testing.assert_array_equal(samples, together.pop(name))
    assert not together


def test_the_decoder_half_restores_lossless_archives(whole: Model, folder: Path) -> None:
    if whole.autoregressive is None:
        pytest.skip("no lossless archives")
    items = named(whole)
    archive = encode_archive(whole, items, lossless=True)
    decoder = load(folder / "decoder", "cpu")
    verify_archive(archive, decoder)
    for name, samples in decode_archive(archive, decoder):
        np.testing.assert_array_equal(samples, items[name], err_msg=name)


def test_the_decoder_half_generates_what_the_whole_does(whole: Model, folder: Path) -> None:
    decoder, encoder = load(folder / "decoder", "cpu"), load(folder / "encoder", "cpu")
    size = whole.item.size
    np.testing.assert_array_equal(generate(decoder, 2, size=size), generate(whole, 2, size=size))
    with pytest.raises(MissingPartError, match="has no decoder"):
        generate(encoder, 1, size=size)


def test_what_a_half_lacks_is_said(whole: Model, folder: Path) -> None:
    encoder, decoder = load(folder / "encoder", "cpu"), load(folder / "decoder", "cpu")
    items = named(whole)
    archive = encode_archive(whole, items)
    no_decoder = "this is the encoder half of a model: it has no decoder; use the decoder half or the whole"
    no_encoder = "this is the decoder half of a model: it has no encoder; use the encoder half or the whole"
    with pytest.raises(MissingPartError, match=no_decoder):
        list(decode_archive(archive, encoder))
    with pytest.raises(MissingPartError, match=no_encoder):
        encode_archive(decoder, items)


@pytest.mark.parametrize("kind", ["vq", "delta"])
def test_lossless_archives_need_the_decoder(kind: str) -> None:
    whole = codec(kind, "image")
    items, encoder = items_for(whole), split_model(whole).encoder
    exact = encode_archive(whole, items, lossless=True)
    for restore in (verify_archive, lambda archive, model: list(decode_archive(archive, model))):
        with pytest.raises(MissingPartError, match="no decoder"):
            restore(exact, encoder)
    with pytest.raises(MissingPartError, match="the whole model"):
        encode_archive(encoder, items, lossless=True)


def test_halves_are_not_parted_and_not_trained(whole: Model) -> None:
    halves = split_model(whole)
    for half in (halves.encoder, halves.decoder):
        with pytest.raises(MissingPartError, match="half of a model: it has no other half"):
            split_model(half)
        with pytest.raises(ConfigError, match=r"model\.half"):
            RunConfig(model=half.config)


def test_a_decoder_alone_has_no_halves() -> None:
    alone = DeltaVAEConfig(latents=None)
    with pytest.raises(LatentpressError, match="no halves"):
        split_model(build(alone))
    with pytest.raises(ConfigError, match="half"):
        DeltaVAEConfig(latents=None, half="decoder")
    for wrong in ("ab", "x" * 32):
        with pytest.raises(ConfigError, match="decoder_id"):
            DeltaVAEConfig(half="encoder", decoder_id=wrong)
    with pytest.raises(ConfigError, match="decoder_id"):
        DeltaVAEConfig(half="decoder", decoder_id="0" * 32)


def test_tensors_of_the_other_half_are_refused(whole: Model, tmp_path: Path) -> None:
    halves = split_model(whole)
    halves.decoder.state_dict = whole.state_dict  # type: ignore[method-assign]
    halves.decoder.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="does not fit its configuration: see encoder"):
        load(tmp_path, "cpu")
    if whole.integer.decoder is not None:
        halves = split_model(whole)
        halves.encoder.integer = whole.integer
        halves.encoder.save_pretrained(tmp_path)
        with pytest.raises(CheckpointError, match="integer decoder does not fit the configuration"):
            load(tmp_path, "cpu")


def test_a_model_without_integer_forms_is_parted_too() -> None:
    model = finished(vq_vae(ITEMS["image"], "parallel", prior=None))
    halves = split_model(model)
    archive = encode_archive(halves.encoder, named(model))
    assert len(dict(decode_archive(archive, halves.decoder))) == 6


def pictures(model: Model, folder: Path) -> Path:
    out = folder / "pictures"
    out.mkdir(exist_ok=True)
    for name, samples in named(model).items():
        with (out / name).open("wb") as file:
            model.item.write(Content.of(samples), file)
    return out


@pytest.mark.parametrize("case", ["vq-parallel", "delta-autoregressive"])
def test_each_half_loads_in_a_process_of_its_own(case: str, tmp_path: Path) -> None:
    whole = small_model(case, Image(channels=1, size=(6, 4)))
    split_model(whole).save_pretrained(tmp_path)
    archive, out = tmp_path / "a.lpz", tmp_path / "out"
    run = [sys.executable, "-m", "latentpress"]
    for half, other, args in (
        ("encoder", "decoder", ["compress", str(pictures(whole, tmp_path)), "-o", str(archive)]),
        ("decoder", "encoder", ["decompress", str(archive), "-o", str(out)]),
    ):
        done = subprocess.run([*run, *args, "-m", str(tmp_path / half)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        again = [*run, *args, "-m", str(tmp_path / other), "-f"]
        wrong = subprocess.run(again, capture_output=True, text=True)
        assert wrong.returncode == 1 and wrong.stderr.count("\n") == 1
        assert f"the {other} half of a model" in wrong.stderr
    assert {path.name for path in out.iterdir()} == set(named(whole))


def test_the_verb(whole: Model, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
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


def test_nothing_appears_where_compression_is_refused(whole: Model, tmp_path: Path) -> None:
    halves = split_model(whole)
    with pytest.raises(MissingPartError):
        compress(halves.decoder, [pictures(whole, tmp_path)], tmp_path / "out.lpz")
    assert not (tmp_path / "out.lpz").exists()
