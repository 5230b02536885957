"""What archives promise, for every kind of item, both models, all decoders, and every way of compressing."""

import io

import numpy as np
import pytest

from latentpress.coding import Archive, Mode, Part, inspect_archive
from latentpress.errors import WrongModelError
from latentpress.press import compress, decode_archive, decompress, verify_archive
from latentpress.press.matching import required_ids
from small.archives import (
    CASES,
    ONE_OF_EACH,
    Case,
    assert_near,
    assert_same,
    changed,
    codec,
    compressed,
    forms_of,
    items_for,
    noise_samples,
    small_items,
    source_of,
)
from small.documented import documented_codes, documented_symbols

FORMS_OF = ("prior", "decoder", "encoder")
FORMS = {"model": None, "packed": Mode.PACKED, "raw": Mode.RAW}


def marked(case):
    """Where both decoders are there, what one alone does is nearly the same."""
    again = case.decoders == "autoregressive" and case.way != "lossy" and case.item in ("colour", "toy")
    return pytest.param(case, marks=pytest.mark.slow) if again else case


@pytest.fixture(scope="module", params=map(marked, CASES), ids=str)
def case(request):
    return request.param


@pytest.fixture(scope="module", params=ONE_OF_EACH, ids=str)
def one(request):
    return request.param


@pytest.fixture(scope="module")
def made(case):
    """A model, items, their archive and the summary."""
    return (case.codec, items_for(case.codec), *compressed(case.codec, items_for(case.codec), **case.options))


def expected(model, items, data, *, lossless):
    """What an archive gives back."""
    header = Archive(io.BytesIO(data)).header
    for number, (name, samples) in enumerate(items.items()):
        if lossless:
            yield name, samples
            continue
        codes = model.encode(samples[None])
        yield (
            name,
            model.decode(codes, samples.shape[:-1], seed=header.seed or 0, numbers=[number])[0],
        )


# What comes back


def test_items_are_restored(case, made):
    model, items, data, summary = made
    restored = dict(decode_archive(data, model))
    assert list(restored) == list(items)
    for name, samples in expected(model, items, data, lossless=summary.lossless):
        assert_near(restored[name], samples, exact=summary.lossless)


def test_every_item_takes_its_smallest_form(case, made):
    _, _, data, summary = made
    archive = Archive(io.BytesIO(data))
    for name, (part, mode) in forms_of(archive).items():
        folder = name.split("/")[0] if summary.lossless else "model"
        if case.model == "counted" and folder == "packed":  # counts make little of flat items too
            continue
        assert (part is Part.FALLBACK) == (folder != "model"), name
        assert part is not Part.FALLBACK or mode is FORMS[folder], name
    stored = 3 if summary.lossless and case.model != "counted" else len(archive.stored.fallback)
    assert summary.fallback == len(archive.stored.fallback) == stored


def test_the_summary_adds_up(case, made):
    model, items, data, summary = made
    archive, info = Archive(io.BytesIO(data)), inspect_archive(data)
    assert (
        summary.archive_bytes == len(data)
        and summary.items == len(items)
        and summary.words == model.item.words
    )
    assert summary.dims == sum(samples.size for samples in items.values()) == info.dims
    assert summary.bits_per_dim == info.bits_per_dim and summary.file_bytes is None
    assert summary.lossless == archive.header.lossless == (case.way != "lossy")
    lanes = [
        (block.positions, lane)
        for block in archive.layout
        if block.part is Part.CODES
        for lane in block.lanes
    ]
    assert summary.symbols == sum(positions for positions, _ in lanes) * len(archive.header.code_alphabets)
    streams, coded = len(archive.layout), 8 * (info.bytes - info.framing_bytes)
    better = 2 * summary.symbols  # a prior at random wants up to two bits more than other modes
    assert summary.model_bits - better <= coded <= summary.model_bits + 128 * streams
    checked = verify_archive(data, model)
    same = ("items", "dims", "symbols", "archive_bytes", "lossless", "fallback", "duplicates", "words")
    assert all(getattr(checked, name) == getattr(summary, name) for name in same)


def test_one_item_alone_is_restored(case, made):
    model, items, data, summary = made
    for name in list(items)[::3]:
        [(only, samples)] = decode_archive(data, model, only=name)
        [wanted] = [s for n, s in expected(model, items, data, lossless=summary.lossless) if n == name]
        assert only == name
        assert_near(samples, wanted, exact=summary.lossless)
    assert len(list(decode_archive(data, model, only=["packed/", "raw"]))) == 3


def test_only_blocks_that_are_needed_are_read_and_each_once(one, monkeypatch):
    model, items = one.codec, items_for(one.codec)
    data, _ = compressed(model, items, **one.options)
    archive, read, payload = Archive(io.BytesIO(data)), [], Archive.payload
    monkeypatch.setattr(Archive, "payload", lambda self, number: read.append(number) or payload(self, number))
    assert len(list(decode_archive(data, model))) == len(items)
    assert sorted(read) == list(range(len(archive.layout)))
    for number, item in enumerate(archive.items):
        read.clear()
        assert len(list(decode_archive(data, model, only=item.name))) == 1
        assert sorted(read) == archive.blocks_of[number]


def test_files_are_restored(case, made, tmp_path):
    model, items, data, _ = made
    assert decompress(data, model, tmp_path).items == len(items)
    restored = dict(decode_archive(data, model))
    for name, samples in restored.items():
        with (tmp_path / name).open("rb") as file:
            assert np.array_equal(model.item.open(file).samples, samples)
    assert sum(path.is_file() for path in tmp_path.rglob("*")) == len(items)


def test_nothing_is_larger_than_its_fallback_or_its_codes(one):
    model = one.codec
    rows, *further = model.item.size
    items = {str(n): noise_samples(model.item, (rows * 6, *further), n) for n in range(20)}
    data, summary = compressed(model, items, **one.options)
    archive = Archive(io.BytesIO(data))
    plain = sum(samples.nbytes for samples in items.values())
    if not summary.lossless:
        plain = summary.symbols * float(np.log2(archive.header.code_alphabets).mean()) / 8 + 4 * len(
            archive.layout
        )
    assert sum(archive.lengths) <= plain and len(data) - sum(archive.lengths) < 20 * 14 + 450


def test_progress_counts_up_to_the_end(one):
    calls = []
    data, _ = compressed(
        one.codec, small_items(one.codec), **one.options, progress=lambda *c: calls.append(c)
    )
    verify_archive(data, one.codec, progress=lambda *c: calls.append(c))
    last = {stage: (done, total) for stage, done, total in calls if stage != "compile"}
    assert set(last) == {"encode", "code", "verify"} | ({"compare"} if one.way != "lossy" else set())
    assert all(done == total for done, total in last.values())
    assert all(0 <= done <= total for _, done, total in calls)


# The reader made from the format page


def positions(symbols):
    return [tuple(position) for position in symbols.reshape(-1, symbols.shape[-1]).tolist()]


def check_the_documented_reader(case):
    if "counted" in case.model:
        pytest.skip("the page leaves how contexts are counted to the model")
    model, items = case.codec, small_items(case.codec)
    data, summary = compressed(model, items, **case.options)
    if not summary.lossless:
        wanted = {name: positions(model.encode(samples[None])[0].numpy()) for name, samples in items.items()}
        assert documented_codes(data, model) == wanted
        return
    symbols = {name: positions(model.item.to_symbols(own, residual=False)) for name, own in items.items()}
    assert documented_symbols(data, model) == symbols
    assert summary.fallback < len(items)


@pytest.mark.parametrize("case", [case for case in ONE_OF_EACH if case.item != "toy"], ids=str)
def test_a_reader_made_from_the_format_page_reads_the_same(case):
    check_the_documented_reader(case)


@pytest.mark.slow
def test_a_reader_made_from_the_format_page_reads_all_the_same(case):
    check_the_documented_reader(case)


# Models


def test_another_model_is_refused_and_the_one_needed_named(one):
    model, items, out = one.codec, small_items(one.codec), io.BytesIO()
    compress(model, source_of(model, items), out, **one.options, model_name="faces\n")
    archive = Archive(out)
    needed = required_ids(archive, range(len(items)))
    assert archive.header.model == "faces" and needed and set(needed) <= set(archive.header.ids)
    forms = {
        name: getattr(codec(one.model, one.item, one.decoders, seed=5).integer, name) for name in FORMS_OF
    }
    for name, id in needed.items():
        given = (
            changed(model, b"another meaning.") if name == "codes" else changed(model, **{name: forms[name]})
        )
        if name == "prior" and forms["prior"].id == id:
            given = changed(model, prior=forms["prior"].with_step(9))
        with pytest.raises(
            WrongModelError, match=r"the model 'faces' with \w+ [0-9a-f]{32}; the one given has"
        ):
            list(decode_archive(out, given))
    bare = changed(model, b"another meaning.", prior=None, decoder=None, encoder=None)
    with pytest.raises(WrongModelError, match="'faces' with"):
        verify_archive(out, bare)
    stored = [archive.items[number].name for number in archive.stored.fallback]
    if stored:
        assert_same(dict(decode_archive(out, bare, only=stored)), {name: items[name] for name in stored})


def test_a_model_of_another_kind_is_refused(one):
    data, _ = compressed(one.codec, small_items(one.codec), **one.options)
    other = codec("vq", "image" if one.item != "image" else "text", "autoregressive")
    with pytest.raises(WrongModelError, match="the model is for"):
        list(decode_archive(data, other))


def test_the_ids_that_are_needed_are_those_of_the_items_chosen(one):
    data, _ = compressed(one.codec, small_items(one.codec), **one.options)
    archive = Archive(io.BytesIO(data))
    by_content = {"codes": {"codes"}, "samples": {"decoder"}, "chains": {"decoder", "encoder", "prior"}}
    for number, item in enumerate(archive.items):
        modes = {archive.modes[block] for block in archive.blocks_of[number]}
        wanted = {"prior"} if Mode.PRIOR in modes else set()
        if number not in archive.stored.fallback:
            wanted |= by_content[archive.header.content]
        assert set(required_ids(archive, [number])) == wanted, item.name


# Duplicates, attributes, labels


def test_exact_duplicates_are_stored_once(one):
    model, items = one.codec, small_items(one.codec)
    again = items | {f"again/{name}": samples.copy() for name, samples in items.items()}
    once, _ = compressed(model, items, **one.options)
    data, summary = compressed(model, again, **one.options)
    assert summary.duplicates == len(items) and summary.items == 2 * len(items)
    assert sum(Archive(io.BytesIO(data)).lengths) == sum(Archive(io.BytesIO(once)).lengths)
    restored, wanted = dict(decode_archive(data, model)), dict(decode_archive(once, model))
    assert_same(restored, wanted | {f"again/{name}": samples for name, samples in wanted.items()})
    name = "again/0.model"
    assert_same(dict(decode_archive(data, model, only=name)), {name: wanted["0.model"]})
    checked = verify_archive(data, model)
    assert (checked.duplicates, checked.symbols) == (summary.duplicates, summary.symbols)


def test_attributes_travel(tmp_path):
    from latentpress.data import ItemRef, Source

    for item, attributes in (
        ("colour", {"dots_per_metre_x": 3000, "dots_per_metre_y": 3001}),
        ("toy", {"ticks_per_second": 7}),
    ):
        for way in ("lossy", "lossless"):
            case = Case("vq", item, "both", way)
            samples = small_items(case.codec)["0.model"]
            refs = [ItemRef.of("a", samples, attributes=attributes), ItemRef.of("b", samples)]
            data, summary = compressed(case.codec, Source(case.codec.item, refs), **case.options)
            archive = Archive(io.BytesIO(data))
            assert [dict(each.attributes) for each in archive.items] == [
                attributes,
                {},
            ] and summary.duplicates == 1
            decompress(data, case.codec, tmp_path / item / way)
            with (tmp_path / item / way / f"a{case.codec.item.suffix}").open("rb") as file:
                assert dict(case.codec.item.open(file).attributes) == attributes
