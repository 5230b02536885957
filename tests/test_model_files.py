"""Model folders: written in one step, read back equal, and never believed when damaged."""

from __future__ import annotations

import json
import re
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from latentpress.config import (
    CodebookConfig,
    DiscretizedLogisticConfig,
    EMAConfig,
    GaussianConfig,
    LaplaceConfig,
    LearnedConfig,
    RecurrentEncoderConfig,
)
from latentpress.errors import CheckpointError
from latentpress.model import VQVAE, DeltaVAE, IntegerForms, Model, load
from latentpress.model.files import FORMAT, read_model, write_model
from small.configs import ITEMS, delta_vae, vq_vae
from small.models import MODELS, batch_of, finished, small_model


@pytest.fixture(scope="module", params=MODELS)
def model(request) -> Model:
    return small_model(request.param)


@pytest.fixture
def folder(model: Model, tmp_path: Path) -> Path:
    model.save_pretrained(tmp_path / "model", card="# A card\n")
    return tmp_path / "model"


def assert_same(one: Model, other: Model) -> None:
    assert type(one) is type(other) and one.config == other.config
    state = other.state_dict()
    assert state.keys() == one.state_dict().keys()
    for name, value in one.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert one.integer.ids == other.integer.ids and one.codes_id == other.codes_id


def test_what_is_saved_is_what_is_loaded(model: Model, folder: Path) -> None:
    for loaded in (load(folder, "cpu"), type(model).from_pretrained(folder, "cpu")):
        assert_same(loaded, model)
        items = batch_of(model.item, 2)
        codes = model.encode(items)
        assert torch.equal(loaded.encode(items), codes)
        size = model.item.size
        assert np.array_equal(loaded.decode(codes, size), model.decode(codes, size))
        assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert (folder / "README.md").read_text() == "# A card\n"
    assert read_model(folder).config == (folder / "config.json").read_text()


def test_saving_again_gives_the_same_bytes(model: Model, folder: Path) -> None:
    before = (folder / "model.safetensors").read_bytes()
    load(folder, "cpu").save_pretrained(folder)
    assert (folder / "model.safetensors").read_bytes() == before


def test_weights_of_another_type_are_refused(model: Model, folder: Path) -> None:
    stored = read_model(folder)
    tensors = stored.tensors(model.state_dict())
    name = next(name for name, _ in model.named_parameters())
    write_model(folder, stored.config, {**tensors, name: tensors[name].half()}, "")
    with pytest.raises(CheckpointError, match=f"does not fit its configuration: see {re.escape(name)}"):
        load(folder, "cpu")


def test_a_model_of_another_kind_is_refused(model: Model, folder: Path) -> None:
    other = DeltaVAE if isinstance(model, VQVAE) else VQVAE
    with pytest.raises(CheckpointError, match=r"model\.safetensors: "):
        other.from_pretrained(folder, "cpu")


@pytest.mark.parametrize(
    "likelihood", [GaussianConfig(scale=0.1), LaplaceConfig(), DiscretizedLogisticConfig()]
)
@pytest.mark.parametrize("vectors", [EMAConfig(), LearnedConfig()])
@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_every_codebook_and_likelihood_is_loaded(likelihood, vectors, distance, tmp_path: Path) -> None:
    config = vq_vae(ITEMS["image"], "parallel", prior=None)
    assert config.parallel is not None
    latents = CodebookConfig(codebook_size=8, code_dim=4, vectors=vectors, distance=distance)
    parallel = replace(config.parallel, likelihood=likelihood)
    saved = finished(replace(config, latents=latents, parallel=parallel))
    saved.save_pretrained(tmp_path)
    assert_same(load(tmp_path, "cpu"), saved)


def test_a_recurrent_encoder_is_loaded(tmp_path: Path) -> None:
    encoder = RecurrentEncoderConfig(hop=(2,), width=6, embedding=4)
    saved = DeltaVAE(delta_vae(ITEMS["text"], "autoregressive", encoder=encoder))
    saved.save_pretrained(tmp_path)
    assert_same(load(tmp_path, "cpu"), saved)


def test_integer_forms_of_another_model_are_refused(model: Model, tmp_path: Path) -> None:
    other = finished(model.config, seed=9)
    wider = replace(
        model.config,
        **{
            name: replace(part, network=replace(part.network, width=9))
            for name in ("prior", "autoregressive", "encoder")
            if (part := getattr(model.config, name, None)) is not None and hasattr(part, "network")
        },
    )
    unlike = type(model)(wider)
    unlike.integer = other.integer
    if not other.integer.ids or unlike.config == model.config:
        pytest.skip("no form depends on that")
    unlike.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="does not fit the configuration"):
        load(tmp_path, "cpu")


def test_an_unknown_form_is_refused(model: Model, tmp_path: Path, monkeypatch) -> None:
    tensors = {"integer.other.weight": torch.zeros(1)}
    monkeypatch.setattr(IntegerForms, "tensors", lambda _: tensors)
    model.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="integer other does not fit"):
        load(tmp_path, "cpu")


def test_no_flipped_bit_is_believed(model: Model, folder: Path) -> None:
    path = folder / "model.safetensors"
    data = path.read_bytes()
    (header,) = struct.unpack_from("<Q", data)
    rng = np.random.default_rng(0)
    places = {*range(12), *rng.integers(8, 8 + header, 60), *rng.integers(8 + header, len(data), 30)}
    for place in places:
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            loaded = load(folder, "cpu")
        except CheckpointError:
            continue
        assert_same(loaded, model)  # such as a changed space in the header


@pytest.mark.parametrize("keep", [0, 4, 100, 5000, -1])
def test_a_truncated_file_is_an_error(folder: Path, keep: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError):
        load(folder, "cpu")


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere is no model folder"):
        load(tmp_path / "nowhere")


def with_metadata(folder: Path, **changes: str) -> None:
    path = folder / "model.safetensors"
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    about = json.loads(header["__metadata__"]["latentpress"])
    header["__metadata__"]["latentpress"] = json.dumps(about | changes)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


def test_a_huge_configuration_allocates_nothing(model: Model, folder: Path) -> None:
    text = (folder / "config.json").read_text().replace('"width": 8', '"width": 4096')
    with_metadata(folder, config=text)
    with pytest.raises(CheckpointError, match="does not fit"):
        load(folder, "cpu")


@pytest.mark.parametrize("config", ["", "[]", "{", '{"kind": "other"}', '{"kind": "delta-vae", "more": 1}'])
def test_a_configuration_that_is_none_is_an_error(folder: Path, config: str) -> None:
    with_metadata(folder, config=config)
    with pytest.raises(CheckpointError):
        load(folder, "cpu")


def test_another_format_is_refused(folder: Path) -> None:
    with_metadata(folder, format="latentpress-model 99")
    with pytest.raises(CheckpointError, match=f"latentpress-model 99.*{FORMAT}"):
        load(folder, "cpu")
