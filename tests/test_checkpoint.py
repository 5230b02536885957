"""Model folders: written in one step, read back equal, and never believed when damaged."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from latentpress import checkpoint
from latentpress.autoregressive import IntegerNetwork
from latentpress.autoregressive.decoder import IntegerDecoder
from latentpress.checkpoint import read_config, write_atomically
from latentpress.config import (
    CausalConfig,
    CodebookConfig,
    CodeVectorsConfig,
    ConvConfig,
    DiscretizedLogisticConfig,
    EMAConfig,
    GaussianConfig,
    LaplaceConfig,
    LearnedConfig,
    LikelihoodConfig,
    PixelsConfig,
    VQVAEConfig,
)
from latentpress.errors import CheckpointError
from latentpress.model import VQVAE, build

SMALL = ConvConfig(width=32, depths=(0, 0))
CONFIG = VQVAEConfig(
    encoder=SMALL,
    decoder=SMALL,
    latents=CodebookConfig(codebook_size=8, code_dim=4, memory=LearnedConfig()),
    prior=CausalConfig(width=8, depth=1, radius=2, embedding=4, head_width=8),
)


@pytest.fixture(scope="module")
def model() -> VQVAE:
    torch.manual_seed(1)
    model = build(CONFIG).eval()
    assert model.prior is not None
    model.exact_prior = IntegerNetwork.convert(model.prior, torch.randint(8, (4, 5, 5, 1)))
    return model


@pytest.fixture
def folder(model: VQVAE, tmp_path: Path) -> Path:
    model.save_pretrained(tmp_path / "model", card="# A card\n")
    return tmp_path / "model"


def test_what_is_saved_is_what_is_loaded(model: VQVAE, folder: Path) -> None:
    loaded = VQVAE.from_pretrained(folder)
    assert loaded.config == read_config(folder) == CONFIG
    for name, value in model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name
    assert (loaded.prior_id, loaded.codebook_id) == (model.prior_id, model.codebook_id)
    images = np.random.default_rng(0).integers(0, 256, (2, 12, 16, 3), dtype=np.uint8)
    codes = model.encode(images)
    assert torch.equal(loaded.encode(images), codes)
    assert loaded.exact_prior is not None
    assert model.exact_prior is not None
    assert torch.equal(loaded.exact_prior.logits(codes)[0], model.exact_prior.logits(codes)[0])
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert (folder / "README.md").read_text() == "# A card\n"


@pytest.mark.parametrize(
    "likelihood", [GaussianConfig(scale=0.1), LaplaceConfig(), DiscretizedLogisticConfig()]
)
@pytest.mark.parametrize("memory", [EMAConfig(), LearnedConfig()])
@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_every_kind_of_model_is_loaded(
    likelihood: LikelihoodConfig,
    memory: CodeVectorsConfig,
    distance: Literal["euclidean", "cosine"],
    tmp_path: Path,
) -> None:
    latents = replace(CONFIG.latents, memory=memory, distance=distance)
    saved = build(replace(CONFIG, likelihood=likelihood, latents=latents, prior=None)).eval()
    saved.save_pretrained(tmp_path)
    codes = torch.arange(8).view(1, 2, 4, 1)
    loaded = VQVAE.from_pretrained(tmp_path)
    np.testing.assert_array_equal(loaded.decode(codes, (8, 16)), saved.decode(codes, (8, 16)))


def test_an_exact_prior_of_another_shape_is_refused(model: VQVAE, tmp_path: Path) -> None:
    assert model.prior is not None
    other = build(replace(CONFIG, prior=replace(CONFIG.prior, depth=2))).eval()
    other.exact_prior = model.exact_prior
    other.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="exact prior"):
        VQVAE.from_pretrained(tmp_path)


def test_saving_again_gives_the_same_bytes(model: VQVAE, folder: Path) -> None:
    before = (folder / "model.safetensors").read_bytes()
    VQVAE.from_pretrained(folder).save_pretrained(folder)
    assert (folder / "model.safetensors").read_bytes() == before


def test_no_flipped_bit_is_believed(model: VQVAE, folder: Path) -> None:
    path = folder / "model.safetensors"
    data = path.read_bytes()
    (header,) = struct.unpack_from("<Q", data)
    rng = np.random.default_rng(0)
    places = {*range(12), *rng.integers(8, 8 + header, 120), *rng.integers(8 + header, len(data), 60)}
    for place in places:
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            loaded = VQVAE.from_pretrained(folder)
        except CheckpointError:
            continue
        for name, value in model.state_dict().items():  # such as a changed space in the header
            assert torch.equal(value, loaded.state_dict()[name])
        assert loaded.config == model.config


@pytest.mark.parametrize("keep", [0, 4, 100, 5000, -1])
def test_a_truncated_file_is_an_error(folder: Path, keep: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError):
        VQVAE.from_pretrained(folder)


def _with_pixels(width: int = 8) -> VQVAE:
    pixels = PixelsConfig(width=width, depth=1, radius=1, head_width=8, map_width=8, map_channels=4)
    model = build(replace(CONFIG, pixels=pixels)).eval()
    assert model.pixels is not None
    samples, codes = torch.randint(256, (1, 8, 8, 3)), torch.randint(8, (1, 2, 2, 1))
    model.exact_pixels = IntegerDecoder.convert(model.pixels, samples, codes)
    return model


def test_the_decoder_of_pixels_is_saved_with_its_exact_form(tmp_path: Path) -> None:
    model = _with_pixels()
    model.save_pretrained(tmp_path)
    loaded = VQVAE.from_pretrained(tmp_path, "cpu")
    assert loaded.pixels_id == model.pixels_id != bytes(16) and loaded.config == model.config
    for name, value in model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name


def test_an_exact_decoder_of_another_structure_is_refused(tmp_path: Path) -> None:
    model = _with_pixels()
    model.exact_pixels = _with_pixels(width=9).exact_pixels
    model.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="exact pixels does not fit"):
        VQVAE.from_pretrained(tmp_path)


def test_missing_files_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere is no model folder"):
        VQVAE.from_pretrained(tmp_path / "nowhere")
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json"):
        read_config(folder)


def _with_metadata(folder: Path, **changes: str) -> None:
    path = folder / "model.safetensors"
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    about = json.loads(header["__metadata__"]["latentpress"])
    header["__metadata__"]["latentpress"] = json.dumps(about | changes)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


def test_a_huge_configuration_allocates_nothing(folder: Path) -> None:
    text = (folder / "config.json").read_text().replace('"width": 32', '"width": 8192')
    _with_metadata(folder, config=text)
    with pytest.raises(CheckpointError, match="does not fit"):
        VQVAE.from_pretrained(folder)


def test_another_format_is_refused(folder: Path) -> None:
    _with_metadata(folder, format="latentpress-model 2")
    with pytest.raises(CheckpointError, match="latentpress-model 2"):
        VQVAE.from_pretrained(folder)


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(checkpoint.os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
