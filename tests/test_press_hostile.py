"""Damaged and hostile archives of every kind and way: one error, or the same items."""

import io
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentpress.coding import Archive, Mode
from latentpress.coding.metadata import pack
from latentpress.errors import ArchiveError, LatentpressError
from latentpress.press import decode_archive
from small.archives import ONE_OF_EACH, assert_same, compressed, flat_samples, small_items
from small.forging import REMOVED, forged


@pytest.fixture(scope="module", params=ONE_OF_EACH, ids=str)
def one(request):
    return request.param


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
