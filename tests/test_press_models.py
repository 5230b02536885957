"""What models, halves of models and trained forms can do with archives, and what messages say of the rest."""

import io

import pytest

from latentpress.coding import Archive, inspect_archive
from latentpress.config import CausalConfig, RecurrentEncoderConfig
from latentpress.errors import LatentpressError, MissingPartError
from latentpress.model import DeltaVAE, load, split_model
from latentpress.press import decode_archive, decompress, encode_archive, verify_archive
from latentpress.press.matching import header_for
from small.archives import changed, codec, compressed, expected_samples, items_for, noise_samples
from small.items import samples_of
from small.models import MODELS, small_model


@pytest.mark.parametrize("kind", ["image", "colour"])
@pytest.mark.parametrize("case", MODELS)
def test_models_as_training_leaves_them_compress_and_restore(case, kind, tmp_path):
    """Networks of arbitrary weights, converted to integers, out of a model folder."""
    small_model(case, kind).save_pretrained(tmp_path)
    model = load(tmp_path, device="cpu")
    items = {f"{n}": samples_of(model.item, seed=n) for n in range(3)}
    ways = [{}] if "parallel" in case else [{}, {"lossless": True}]
    for options in [
        *ways,
        *([{"lossless": True, "bits_back": True}] if model.integer.encoder and ways[1:] else []),
    ]:
        data, summary = compressed(model, items, **options)
        restored = dict(decode_archive(data, small_model(case, kind)))
        for name, samples in items.items():
            assert restored[name].shape == samples.shape
            assert not summary.lossless or (restored[name] == samples).all()
        assert verify_archive(data, model).items == 3


def test_texts_are_always_kept_to_the_byte():
    model = codec("vq", "text", "autoregressive")
    items = items_for(model)
    assert compressed(model, items)[0] == compressed(model, items, lossless=True)[0]


def test_bits_back_is_a_way_to_compress_losslessly():
    model = codec("delta", "image")
    with pytest.raises(LatentpressError, match="ask for that too"):
        compressed(model, items_for(model), bits_back=True)


@pytest.mark.parametrize("lossless", [False, True])
def test_what_is_drawn_depends_on_the_seed_alone(lossless):
    model = codec("delta", "image", "autoregressive")
    items = {f"{n}": expected_samples(model, (24, 4), n) for n in range(3)}
    archives = [compressed(model, items, seed=seed, lossless=lossless)[0] for seed in (4, 4, 5)]
    restored = [dict(decode_archive(data, model)) for data in archives]
    assert archives[0] == archives[1] and Archive(io.BytesIO(archives[0])).header.seed == (
        None if lossless else 4
    )
    assert all((restored[0][name] == restored[1][name]).all() for name in items)
    assert any((restored[0][name] != restored[2][name]).any() for name in items) != lossless
    [(_, alone)] = decode_archive(archives[0], model, only="2")
    assert (alone == restored[0]["2"]).all()


# What a model lacks


def test_a_model_without_what_it_takes_is_told():
    without = changed(codec("vq", "colour"), decoder=None)
    with pytest.raises(LatentpressError, match=r"no autoregressive decoder in integer form.*--stage decoder"):
        compressed(without, items_for(without), lossless=True)
    for model in (codec("alone", "image", "autoregressive"), changed(codec("delta", "image"), prior=None)):
        with pytest.raises(LatentpressError, match="no codes"):
            compressed(model, items_for(model))


def test_bits_back_needs_all_networks_of_a_delta_vae():
    delta = codec("delta", "image")
    recurrent = DeltaVAE(
        delta.config.__class__(**{**vars(delta.config), "encoder": RecurrentEncoderConfig(hop=(2,))})
    )
    recurrent.integer = delta.integer.__class__(delta.integer.prior, delta.integer.decoder)
    models = [codec("vq", "image"), codec("alone", "image", "autoregressive"), recurrent.eval()]
    models += [changed(delta, **{form: None}) for form in ("prior", "decoder", "encoder")]
    for model in models:
        with pytest.raises(LatentpressError, match=r"bits back needs .*kind=anticausal"):
            compressed(model, items_for(delta), lossless=True, bits_back=True)


@pytest.mark.parametrize("name", ["vq", "delta"])
def test_halves_do_their_part(name, tmp_path):
    model = codec(name, "image")
    items, halves = items_for(model), split_model(model)
    lossy, _ = compressed(halves.encoder, items)
    assert lossy == compressed(model, items)[0]
    assert verify_archive(lossy, halves.encoder).items == len(items)
    restored = dict(decode_archive(lossy, model))
    assert all((samples == restored[name]).all() for name, samples in decode_archive(lossy, halves.decoder))
    with pytest.raises(MissingPartError, match=r"encoder half .* no decoder; use the decoder half"):
        decompress(lossy, halves.encoder, tmp_path)
    with pytest.raises(MissingPartError, match=r"decoder half .* no encoder"):
        compressed(halves.decoder, items)
    lossless, _ = compressed(model, items, lossless=True)
    assert all((samples == items[name]).all() for name, samples in decode_archive(lossless, halves.decoder))
    with pytest.raises(MissingPartError, match=r"encoder half .* no decoder; use the decoder half"):
        list(decode_archive(lossless, halves.encoder))
    assert len(dict(decode_archive(lossless, halves.encoder, only=["packed", "raw"]))) == 3
    for half in (halves.encoder, halves.decoder):
        with pytest.raises(MissingPartError, match="use the whole model"):
            compressed(half, items, lossless=True)
    assert not list(tmp_path.iterdir())


def test_bits_back_takes_both_halves():
    model = codec("delta", "image")
    items, halves = items_for(model), split_model(model)
    data, _ = compressed(model, items, lossless=True, bits_back=True)
    for half in (halves.encoder, halves.decoder):
        with pytest.raises(MissingPartError, match="use the whole model"):
            list(decode_archive(data, half))
        with pytest.raises(MissingPartError, match="use the whole model"):
            compressed(half, items, lossless=True, bits_back=True)
        assert len(dict(decode_archive(data, half, only="raw"))) == 1


def test_headers_name_what_matters():
    vq, delta, alone = codec("vq", "toy"), codec("delta", "toy"), codec("alone", "text", "autoregressive")
    assert set(header_for(vq, "codes").ids) == {"codes", "prior"}
    assert set(header_for(vq, "samples").ids) == {"decoder", "prior"}
    assert set(header_for(delta, "chains").ids) == {"decoder", "encoder", "prior"}
    assert header_for(delta, "samples").ids["decoder"] != header_for(delta, "chains").ids["decoder"]
    assert header_for(alone, "samples").code_alphabets == header_for(delta, "chains").code_alphabets == ()
    assert header_for(vq, "samples").residual and not header_for(vq, "codes").residual
    assert header_for(delta, "codes", seed=3).seed is None  # its parallel decoder draws nothing
    without = codec("vq", "colour", decoder=(("use_latents", False),))
    assert header_for(without, "samples").code_alphabets == ()
    data = encode_archive(without, items_for(without), lossless=True)
    assert {use.part for use in inspect_archive(data).modes} == {"samples", "fallback"}
    assert len(dict(decode_archive(data, without))) == len(items_for(without))


def test_a_model_without_a_prior_has_other_modes():
    model = codec("vq", "colour", prior=None)
    assert isinstance(model.config.autoregressive.network, CausalConfig) and model.integer.prior is None
    rows, columns = model.item.size
    items = {f"{n}": noise_samples(model.item, (rows * 4, columns * 4), n) for n in range(40)}
    data, summary = compressed(model, items)
    info = inspect_archive(data)
    assert {use.mode for use in info.modes} <= {"raw", "static", "adaptive"}
    assert summary.model_bits == summary.symbols * 4  # of 16 codes
    assert list(dict(decode_archive(data, codec("vq", "colour")))) == list(items)
