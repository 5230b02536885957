"""What archives promise, for every kind of item, both models, all decoders, and every way of compressing."""

import io
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentpress.coding import Archive, Mode, Part, inspect_archive
from latentpress.coding.metadata import pack
from latentpress.errors import ArchiveError, ItemError, LatentpressError, WrongModelError
from latentpress.press import compress, decode_archive, decompress, verify_archive
from latentpress.press.coders import FallbackCoder
from latentpress.press.matching import CODED, coder_for, required_ids
from small.archives import (
    CASES,
    Case,
    assert_near,
    changed,
    codec,
    compressed,
    flat_samples,
    items_for,
    noise_samples,
    source_of,
)
from small.documented import documented_codes, documented_symbols
from small.forging import REMOVED, forged

FORMS_OF = ("prior", "decoder", "encoder")
FORMS = {"model": None, "packed": Mode.PACKED, "raw": Mode.RAW}
ONE_OF_EACH = [
    case
    for case in CASES
    if (case.item, case.decoders) in {("colour", "both"), ("toy", "both"), ("text", "autoregressive")}
]


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


def small_items(model):
    """An item in each form, as small as they may be."""
    rows, *further = model.item.size
    rows *= 8 if model.item.ordinal else 12
    return {
        name: samples
        for number in range(3)
        for name, samples in {
            f"{number}.model": items_for(model)[f"model/0{number}{model.item.new_suffix}"],
            f"{number}.packed": flat_samples(model.item, (rows, *further), number),
            f"{number}.raw": noise_samples(model.item, (2, *further), number),
        }.items()
        if number == 0 or "model" in name
    }


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


def assert_same(restored, items):
    assert sorted(restored) == sorted(items)
    for name, samples in items.items():
        assert restored[name].dtype == samples.dtype and np.array_equal(restored[name], samples), name


def forms_of(archive):
    """The part and the mode in which each item's samples, or codes, are stored."""
    leaves = (CODED[archive.header.content], Part.FALLBACK)
    return {
        archive.items[lane.item].name: (block.part, mode)
        for block, mode in zip(archive.layout, archive.modes, strict=True)
        for lane in block.lanes
        if block.part in leaves
    }


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
    if case.model == "counted":
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


# What the model does not take, or does not give back


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


def archive_of(model, items, case):
    return Archive(io.BytesIO(compressed(model, items, **case.options)[0]))


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


# Damage and hostile archives


@pytest.fixture(scope="module")
def small(one):
    model, items = one.codec, small_items(one.codec)
    data, _ = compressed(model, items, **one.options)
    return model, data, dict(decode_archive(data, model))


def check_flips(model, data, every):
    for position in range(0, len(data), every):
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(LatentpressError):
            list(decode_archive(bytes(damaged), model))


def test_a_flipped_bit_is_noticed(small):
    model, data, _ = small
    check_flips(model, data, len(data) // 30)


@pytest.mark.slow
def test_any_flipped_bit_is_noticed(small):
    model, data, _ = small
    check_flips(model, data, 1)


@given(st.data())
@settings(max_examples=25)
def test_splices_give_the_same_items_or_one_error(small, draws):
    model, data, items = small
    start, stop = draws.draw(st.integers(0, len(data))), draws.draw(st.integers(0, len(data)))
    spliced = data[:start] + draws.draw(st.binary(max_size=20)) + data[stop:]
    with suppress(LatentpressError):
        assert_same(dict(decode_archive(spliced, model)), items)


def hostile_fields(archive):
    """Changes of the header, of the index, and of blocks, by name."""
    header, count, rank = archive.header, len(archive.items), archive.header.rank
    sizes = [[item.shape[axis] for item in archive.items] for axis in range(rank)]

    def extents(axis, value):
        columns = [list(column) for column in sizes]
        columns[axis][0] = value
        return {"extents": [pack(column, 8) for column in columns]}

    yield "kind", {"head": {"kind": "film"}}
    yield "channels", {"head": {"channels": header.channels + 1}}
    yield "another hop", {"head": {"hop": [hop + 1 for hop in header.hop]}}
    yield "axes", {"head": {"hop": [*header.hop, 1]}}
    yield "residual", {"head": {"residual": 1 - header.residual}}
    yield "codes", {"head": {"code_alphabets": [7] if header.content != "chains" else [255, 255]}}
    yield "samples", {"head": {"sample_alphabets": [256] * (len(header.sample_alphabets) + 1)}}
    yield "labels", {"head": {"labels": 1}}
    yield "content", {"head": {"content": "pictures"}}
    for content in {"codes", "samples", "chains"} - {header.content}:
        yield f"content {content}", {"head": {"content": content}}
    needed = set(header.ids) - ({"prior"} if Mode.PRIOR not in archive.modes else set())
    for name in set(header.ids) if header.content == "chains" else needed:
        yield f"{name} of another model", {"head": {f"{name}_id": bytes(16)}}
        yield f"{name} missing", {"head": {f"{name}_id": REMOVED}}
    yield "more rows", {"index": extents(0, sizes[0][0] + 1)}
    yield "no rows", {"index": extents(0, 0)}
    yield "endless rows", {"index": extents(0, 1 << 40)}
    if rank > 1:
        yield "wider", {"index": extents(1, sizes[1][0] + 1)}
        yield "huge", {"index": extents(1, 1 << 24)}
    yield "all by the fallback", {"index": {"fallback": bytes([1] * count)}}
    yield "none by the fallback", {"index": {"fallback": REMOVED if archive.stored.fallback else b"x"}}
    for mode in Mode:
        if set(archive.modes) != {mode}:
            yield f"mode {mode.name}", {"index": {"modes": bytes([mode] * len(archive.modes))}}
    yield "no such mode", {"index": {"modes": bytes([99] * len(archive.modes))}}
    yield "another sum", {"index": {"symbols_crcs": pack([1] * len(archive.modes))}}
    yield "a duplicate of itself", {"index": {"originals": pack([1, *[0] * (count - 1)])}}
    yield "a duplicate of another", {"index": {"originals": pack([0, 1, *[0] * (count - 2)])}}
    for number in {0, len(archive.layout) - 1}:
        payload, mode = archive.payload(number), archive.modes[number]
        others = {"nothing": b"", "less": payload[:-5], "ones": b"\xff" * 40}
        if mode in (Mode.RAW, Mode.PACKED, Mode.BITS_BACK):  # what follows a range coder's words is not read
            others["more"] = payload + payload
        for name, other in others.items():
            yield f"{name} in {mode.name} {number}", {"payloads": {number: other}}


def test_hostile_fields_give_one_error(small):
    model, data, _ = small
    for what, changes in hostile_fields(Archive(io.BytesIO(data))):
        with pytest.raises(ArchiveError):
            list(decode_archive(forged(data, **changes), model))
            pytest.fail(what)


def test_packed_blocks_of_other_samples_give_one_error(one):
    model = one.codec
    if one.way == "lossy":
        pytest.skip("nothing is packed")
    rows, *further = model.item.size
    samples = flat_samples(model.item, (rows * 12, *further))
    data, summary = compressed(model, {"a": samples}, **one.options)
    assert summary.fallback == 1
    for other in (
        model.item.pack(flat_samples(model.item, (rows * 12, *further), 3)),
        model.item.pack(flat_samples(model.item, (rows * 12 + 1, *further))),
        model.item.pack(samples)[:-3],
        b"hello",
        b"\x2f\0",
        b"\x2f" + (16382 << 14 | 16382).to_bytes(4, "little") + bytes(40),
    ):
        with pytest.raises(ArchiveError):
            list(decode_archive(forged(data, payloads={0: other}), model))


def test_forgery_itself_is_sound(small):
    model, data, items = small
    assert forged(data) != data  # another zlib level
    assert_same(dict(decode_archive(forged(data), model)), items)
