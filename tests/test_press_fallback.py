"""What a model does not take, or does not give back, is stored by the fallback codec."""

import io

import numpy as np
import pytest

from latentpress.coding import Archive, Mode, Part
from latentpress.errors import ArchiveError, ItemError
from latentpress.press import compress, decode_archive, verify_archive
from latentpress.press.coders import FallbackCoder
from latentpress.press.matching import CODED, coder_for
from small.archives import (
    ONE_OF_EACH,
    Case,
    archive_of,
    assert_same,
    compressed,
    flat_samples,
    forms_of,
    noise_samples,
    small_items,
    source_of,
)


@pytest.fixture(scope="module", params=ONE_OF_EACH, ids=str)
def one(request):
    return request.param


def test_items_that_a_model_does_not_take_are_stored_by_the_fallback():
    for way, decoders in (
        ("lossy", "both"),
        ("lossless", "both"),
        ("bits-back", "both"),
        ("lossy", "parallel"),
    ):
        case = Case("delta", "image", decoders, way)
        items = {
            f"{n}.png": noise_samples(case.codec.item, (6, width), n) for n, width in enumerate([4, 5, 4, 3])
        }
        data, summary = compressed(case.codec, items, **case.options)
        archive, restored = Archive(io.BytesIO(data)), dict(decode_archive(data, case.codec))
        assert archive.stored.fallback >= {1, 3} and summary.fallback == len(archive.stored.fallback)
        assert_same({n: restored[n] for n in ("1.png", "3.png")}, {n: items[n] for n in ("1.png", "3.png")})
        assert restored["0.png"].shape == (6, 4, 1)
        assert verify_archive(data, case.codec).fallback == summary.fallback


@pytest.mark.parametrize("part", ["leaf", "codes", "fallback"])
def test_what_does_not_decode_again_is_stored_by_the_fallback(one, part, monkeypatch):
    """A machine on which some block decodes to something else, or not at all."""
    model, items = one.codec, small_items(one.codec)
    header = Archive(io.BytesIO(compressed(model, items, **one.options)[0])).header
    broken = {"leaf": CODED[header.content], "codes": Part.CODES, "fallback": Part.FALLBACK}[part]
    if (broken is Part.CODES and not header.code_alphabets) or (
        broken is Part.FALLBACK and not header.lossless
    ):
        pytest.skip("there are no such blocks")
    before = {name: form for name, form in forms_of(archive_of(model, items, one)).items()}
    coder = type(coder_for(broken, model, header))
    decode = coder.decode

    def fail(self, archive, numbers):
        for number, symbols in zip(numbers, decode(self, archive, numbers), strict=True):
            block = archive.layout[number]
            if block.part is broken and archive.items[block.lanes[0].item].name == "0.model":
                raise ArchiveError("made to fail")
            yield symbols

    monkeypatch.setattr(coder, "decode", fail)
    data, summary = compressed(model, items, **one.options)
    monkeypatch.undo()
    after = forms_of(Archive(io.BytesIO(data)))
    if broken is Part.FALLBACK:  # which is not broken where nothing is stored so
        assert after == before
    else:
        assert after["0.model"][0] is Part.FALLBACK and before["0.model"][0] is not Part.FALLBACK
        assert after["0.packed"][0] is before["0.packed"][0] or one.model == "counted"  # one block
    restored = dict(decode_archive(data, model))
    assert np.array_equal(restored["0.model"], items["0.model"]) or broken is Part.FALLBACK
    assert summary.fallback == len(Archive(io.BytesIO(data)).stored.fallback)


def test_symbols_that_differ_are_found_though_they_decode(one, monkeypatch):
    model, items = one.codec, small_items(one.codec)
    header = archive_of(model, items, one).header
    coder = type(coder_for(CODED[header.content], model, header))
    decode = coder.decode

    def flipped(self, archive, numbers):
        for number, symbols in zip(numbers, decode(self, archive, numbers), strict=True):
            if archive.items[archive.layout[number].lanes[0].item].name == "0.model":
                symbols = symbols.copy()
                symbols[0, 0, 0] ^= 1
            yield symbols

    monkeypatch.setattr(coder, "decode", flipped)
    data, _ = compressed(model, items, **one.options)
    unproven, _ = compressed(model, items, **one.options, verify=False)
    monkeypatch.undo()
    assert forms_of(Archive(io.BytesIO(data)))["0.model"][0] is Part.FALLBACK
    assert forms_of(Archive(io.BytesIO(unproven)))["0.model"][0] is not Part.FALLBACK


def test_nothing_is_written_where_even_the_fallback_fails(one, monkeypatch, tmp_path):
    def fail(self, archive, numbers):
        raise ArchiveError("made to fail")
        yield

    monkeypatch.setattr(FallbackCoder, "decode", fail)
    items = {"a": noise_samples(one.codec.item, (4, *one.codec.item.size[1:]))}
    if one.way == "lossy":
        pytest.skip("nothing is stored by the fallback")
    with pytest.raises(ArchiveError, match="please report this"):
        compress(one.codec, source_of(one.codec, items), tmp_path / "x.lpz", **one.options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("broken", ["pack raises", "unpack raises", "unpack errs"])
def test_what_the_kinds_own_codec_cannot_do_is_stored_as_it_is(one, broken, monkeypatch):
    if not one.options.get("lossless") and one.codec.item.lossy:
        pytest.skip("nothing is packed")
    model, items = one.codec, {"a": flat_samples(one.codec.item, (300, *one.codec.item.size[1:]))}

    def fail(*_):
        raise ItemError("made to fail")

    wrong = fail if broken.endswith("raises") else lambda _, shape: np.full(shape, 3, model.item.dtype)
    monkeypatch.setattr(type(model.item), broken.split()[0], staticmethod(wrong))
    data, _ = compressed(model, items, **one.options)
    assert Mode.PACKED not in Archive(io.BytesIO(data)).modes
    monkeypatch.undo()
    assert np.array_equal(dict(decode_archive(data, model))["a"], items["a"])
