"""Golden archives are read and written as ever."""

import io

import numpy as np
import pytest

from latentpress.coding import Archive, Mode, Part
from latentpress.press import decode_archive, verify_archive
from small.documented import documented_codes
from small.golden import FOLDER, GOLDEN, golden_archive

EXPECTED = {
    "prior.lpz": {(Part.CODES, Mode.PRIOR)},
    "stored.lpz": {(Part.CODES, mode) for mode in (Mode.RAW, Mode.STATIC, Mode.ADAPTIVE)},
    "lossless.lpz": {(Part.SAMPLES, Mode.SAMPLES), (Part.FALLBACK, Mode.RAW), (Part.FALLBACK, Mode.PACKED)},
    "text.lpz": {(Part.SAMPLES, Mode.SAMPLES), (Part.FALLBACK, Mode.RAW), (Part.FALLBACK, Mode.PACKED)},
    "bitsback.lpz": {(Part.CHAIN, Mode.BITS_BACK), (Part.FALLBACK, Mode.RAW), (Part.FALLBACK, Mode.PACKED)},
}


def test_there_is_one_of_every_file():
    assert {path.name for path in FOLDER.iterdir()} == set(GOLDEN) == set(EXPECTED)


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_archives_are_read_as_ever(name):
    data, (made, way) = (FOLDER / name).read_bytes(), GOLDEN[name]
    model, source = made()
    archive = Archive(io.BytesIO(data))
    assert EXPECTED[name] <= {(b.part, mode) for b, mode in zip(archive.layout, archive.modes, strict=True)}
    assert verify_archive(data, model).items == len(source.items)
    restored = dict(decode_archive(data, model))
    for ref in source.items:
        samples = ref.read()
        assert restored[ref.name].shape == samples.shape
        assert way == "lossy" or np.array_equal(restored[ref.name], samples)


@pytest.mark.parametrize("name", ["prior.lpz", "stored.lpz"])
def test_the_codes_of_golden_archives_are_the_documented_ones(name):
    model, source = GOLDEN[name][0]()
    codes = documented_codes((FOLDER / name).read_bytes(), model)
    for ref in source.items:
        assert codes[ref.name] == [*map(tuple, model.encode(ref.read()[None]).flatten(0, -2).tolist())]


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_archives_are_written_as_ever(name):
    old, new = Archive(io.BytesIO((FOLDER / name).read_bytes())), Archive(io.BytesIO(golden_archive(name)))
    assert (old.header, old.items, old.stored) == (new.header, new.items, new.stored)
    assert (old.layout, old.modes) == (new.layout, new.modes)
    for number, mode in enumerate(old.modes):
        if mode is not Mode.PACKED:  # an affair of libwebp and liblzma
            assert old.payload(number) == new.payload(number)
