import re
import unicodedata
from contextlib import suppress
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentpress.errors import ArchiveError, UnsafePathError
from latentpress.names import (
    NameColumns,
    check_name,
    check_path,
    output_names,
    pack_names,
    shown,
    unfit,
    unpack_names,
    written_name,
)

NAMES = st.from_regex(r"[a-z0-9./é]{1,20}", fullmatch=True)
BYTES = st.binary(min_size=1, max_size=12).map(
    lambda data: data.replace(b"\0", b"").decode("utf-8", "surrogateescape")
)
ODDITIES = st.text(st.sampled_from("aux.: %23AFf?\\\n\udcc3\udca9é"), min_size=1, max_size=8)
PLATFORMS = ("linux", "darwin", "win32")


@given(st.lists(NAMES, unique=True, max_size=30))
def test_unpacking_inverts_packing(names):
    assert unpack_names(pack_names(names)) == names


@given(st.lists(BYTES.filter(bool), unique=True, max_size=30))
def test_names_of_any_bytes_are_packed(names):
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
        NameColumns([0], [0], b"\0"),
        NameColumns([0, 0], [0, 1], b"a\0\0"),
        NameColumns([0, 0], [0, 1], b"\xc3\0\xa9\0"),
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


NOWHERE = [
    "",
    "/etc/passwd",
    "../a",
    "a/../b",
    "a//b",
    "./a",
    "a/",
    "a/.",
    "a\0b",
    "x" * 256,
    "a/" * 600 + "b",
]
NOWHERE += ["é" * 128, "\ud800", "a\udcc3\udca9", "\udc00"]
ELSEWHERE = ["C:a", "c:\\a", "..\\a", "a\\..\\b", "\\a", "\\\\host\\a"]
DEVICES = ["CON", "con.png", "a/NUL.txt", "aux.tar.gz", "COM1", "lpt9.x", "COM¹", "conin$", "CON:x", "CON .x"]
RESERVED = [f"a/b{char}c.png" for char in '\\:<>"|?*\n\x1f']
ENDINGS = ["a ", "a./b", "draft.txt.", "..."]
LEGAL = [
    "What now?.txt",
    "12:30 call.txt",
    "a\x7f",
    "a\u2028b",
    "Icon\r",
    "caf\udce9.txt",
    "\x1b[2J",
    "e\u0301",
]


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("name", NOWHERE)
def test_names_that_lead_nowhere_are_refused_everywhere(name, platform):
    assert unfit(name)
    for check in (check_name, check_path):
        with pytest.raises(UnsafePathError, match="unsafe name"):
            check(name, platform)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_names_that_lead_elsewhere_on_windows_are_refused_there(name):
    with pytest.raises(UnsafePathError):
        check_name(name, "win32")
    for platform in ("linux", "darwin"):
        check_name(name, platform)


@pytest.mark.parametrize("name", ELSEWHERE + DEVICES + RESERVED + ENDINGS)
def test_windows_writes_nothing_under_names_that_it_reads_otherwise(name):
    with pytest.raises(UnsafePathError):
        check_path(name, "win32")
    check_path(written_name(name, "win32"), "win32")
    for platform in ("linux", "darwin"):
        check_path(name, platform)
        assert written_name(name, platform) == name


@pytest.mark.parametrize(
    "name", ["a.png", "a/b/c.d.png", "console.png", "com10.png", "...a", "é/日本.jpg", "~/x"]
)
@pytest.mark.parametrize("platform", PLATFORMS)
def test_names_that_all_systems_take_are_kept(name, platform):
    check_path(name, platform)
    assert written_name(name, platform) == name and unfit(name) is None


@pytest.mark.parametrize("name", LEGAL)
def test_legal_names_are_kept_and_shown_in_one_printable_line(name):
    assert unfit(name) is None and unpack_names(pack_names([name])) == [name]
    assert written_name(name, "linux") == name and shown(name).isprintable()


def original(written, platform):
    """What `written_name` says of finding the name again."""
    parts = []
    for part in written.split("/"):
        meant = re.sub(
            rb"%([0-9A-F]{2})", lambda m: bytes([int(m[1], 16)]), part.encode("utf-8", "surrogateescape")
        )
        name = meant.decode("utf-8", "surrogateescape")
        escaped = "/" not in name and written_name(name, platform) == part
        parts.append(name if escaped else part)
    return "/".join(parts)


@given(st.one_of(ODDITIES, BYTES), st.sampled_from(PLATFORMS))
def test_written_names_are_safe_and_say_what_was_meant(name, platform):
    if unfit(name) is None:
        written = written_name(name, platform)
        check_path(written, platform)
        assert original(written, platform) == name
        assert not re.search("[\udc80-\udcff]", written) or platform == "linux"


def folded(name):
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


@given(st.lists(st.one_of(NAMES, ODDITIES), unique=True, max_size=20), st.sampled_from(PLATFORMS))
def test_outputs_never_meet(names, platform):
    safe = [name for name in names if unfit(name) is None]
    outputs = [folded(name) for name in output_names(safe, ".png", platform=platform)]
    assert len(set(outputs)) == len(outputs)
    assert all(name.endswith(".png") for name in outputs)
    folders = {name.rpartition("/")[0] for name in outputs}
    assert not folders & set(outputs)


def test_outputs_keep_apart_what_case_or_suffix_would_join():
    names = ["a.jpg", "A.png", "a.webp", "b.png/c.jpg", "b.jpg"]
    assert output_names(names, ".png") == ["a.png", "A.png.png", "a.webp.png", "b.png/c.png", "b.jpg.png"]


def test_outputs_keep_apart_what_a_normal_form_or_an_escape_would_join():
    names = ["\xe9.txt", "e\u0301.txt", "E\u0301.txt"]
    assert output_names(names, None) == ["\xe9.txt", "e\u0301-2.txt", "E\u0301-3.txt"]
    names = ["a?.txt", "A%3f.txt", "a%3F.txt", "b?/c", "b%3F"]
    wanted = ["a%3F.txt", "A%3f-2.txt", "a%253F.txt", "b%3F/c", "b%253F"]
    assert output_names(names, None, platform="win32") == wanted
    assert output_names(names, None, platform="linux")[3:] == names[3:]
    assert output_names(["aux.jpg", "x.", "a\udce9.jpg"], ".png", platform="win32") == [
        "%61ux.png",
        "x..png",
        "a%E9.png",
    ]


@given(st.lists(NAMES, unique=True, max_size=20))
def test_outputs_that_keep_their_suffix_never_meet(names):
    safe = [name for name in names if unfit(name) is None]
    outputs = output_names(safe, None)
    folded = {name.casefold() for name in outputs}
    folders = {str(parent).casefold() for name in outputs for parent in PurePosixPath(name).parents}
    assert len(folded) == len(outputs) and not folders & folded
    for name, output in zip(safe, outputs, strict=True):
        assert PurePosixPath(output).suffix == PurePosixPath(name).suffix
        assert output == name or name.casefold() in folders
