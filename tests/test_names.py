from contextlib import suppress
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentpress.errors import ArchiveError, UnsafePathError
from latentpress.names import NameColumns, check_name, output_names, pack_names, unpack_names

NAMES = st.from_regex(r"[a-z0-9./é]{1,20}", fullmatch=True)


@given(st.lists(NAMES, unique=True, max_size=30))
def test_unpacking_inverts_packing(names):
    assert unpack_names(pack_names(names)) == names


@pytest.mark.parametrize(
    "names",
    [
        ["img8.png", "img9.png", "img10.png", "img11.png"],
        ["a/0998.mp3", "a/0999.mp3", "a/1000.mp3", "a/1001.mp3"],
        ["7", "8", "08", "9999999999999999999999998", "9999999999999999999999999"],
        ["x.1/y", "x.2/y", "x.2/y1.c3"],
    ],
)
def test_numbered_names(names):
    assert unpack_names(pack_names(names)) == names


def test_numbers_in_a_row_are_one_step_each():
    columns = pack_names([f"test/cat/{i:04d}.jpg" for i in range(500)])
    assert columns.steps == [0] + [1] * 499 and columns.endings == b"test/cat/0000.jpg\0"


@pytest.mark.parametrize(
    "columns",
    [
        NameColumns([0], [0], b"a"),
        NameColumns([0], [], b"a\0"),
        NameColumns([0, 0], [0, 0], b"a\0"),
        NameColumns([0], [0], b"\xff\0"),
        NameColumns([0], [0], b"\0"),
        NameColumns([0], [0], b"a\nb\0"),
        NameColumns([0, 0], [0, 1], b"a\0\0"),
        NameColumns([0], [0], b"a" * 1025 + b"\0"),
        NameColumns([0] + [1] * 5, [0], b"a" * 1025 + b"\0"),
    ],
)
def test_hostile_columns(columns):
    with pytest.raises(ArchiveError):
        unpack_names(columns)


@given(
    st.lists(st.integers(0, 2**32 - 1), max_size=20),
    st.lists(st.integers(0, 2**32 - 1), max_size=20),
    st.binary(max_size=60),
)
def test_any_columns_give_names_or_one_error(steps, shared, endings):
    with suppress(ArchiveError):
        assert len(unpack_names(NameColumns(steps, shared, endings))) == len(steps)


ABSOLUTE = ["/etc/passwd", "../a", "a/../b", "a//b", "./a", "a/", "C:a", "c:\\a", "a\\b"]
DEVICES = ["CON", "con.png", "a/NUL.txt", "aux.tar.gz", "COM1", "lpt9.x", "COM¹", "conin$", "CON:x", "CON .x"]
RESERVED = [f"a/b{char}c.png" for char in ':<>"|?*']
ODD = ["", "a ", "a./b", "a\nb", "a\x7f", "a\u2028b", "x" * 256, "a/" * 600 + "b"]


@pytest.mark.parametrize("name", ABSOLUTE + DEVICES + RESERVED + ODD)
def test_unsafe_names(name):
    with pytest.raises(UnsafePathError):
        check_name(name)


@pytest.mark.parametrize(
    "name", ["a.png", "a/b/c.d.png", "console.png", "com10.png", "...a", "é/日本.jpg", "~/x", "-rf"]
)
def test_safe_names(name):
    check_name(name)


@given(st.lists(NAMES, unique=True, max_size=20))
def test_outputs_never_meet(names):
    safe = [name for name in names if _is_safe(name)]
    outputs = [name.casefold() for name in output_names(safe, ".png")]
    assert len(set(outputs)) == len(outputs)
    assert all(name.endswith(".png") for name in outputs)
    folders = {name.rpartition("/")[0] for name in outputs}
    assert not folders & set(outputs)


def _is_safe(name):
    try:
        check_name(name)
    except UnsafePathError:
        return False
    return True


def test_outputs_keep_apart_what_case_or_suffix_would_join():
    names = ["a.jpg", "A.png", "a.webp", "b.png/c.jpg", "b.jpg"]
    assert output_names(names, ".png") == ["a.png", "A.png.png", "a.webp.png", "b.png/c.png", "b.jpg.png"]


@given(st.lists(NAMES, unique=True, max_size=20))
def test_outputs_that_keep_their_suffix_never_meet(names):
    safe = [name for name in names if _is_safe(name)]
    outputs = output_names(safe, None)
    folded = {name.casefold() for name in outputs}
    folders = {str(parent).casefold() for name in outputs for parent in PurePosixPath(name).parents}
    assert len(folded) == len(outputs) and not folders & folded
    for name, output in zip(safe, outputs, strict=True):
        assert PurePosixPath(output).suffix == PurePosixPath(name).suffix
        assert output == name or name.casefold() in folders
