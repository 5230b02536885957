"""Text: a file's bytes <-> uint8 array (T, 1), byte for byte; T may be 0.

Any bytes are a text: nothing is decoded, so line ends, encodings and what is no text at all come back as
they were. Which files are taken for text where nobody named them one by one is told by their suffix, and
of others by their first bytes.

`pack_text` is the strong conventional form of an item: a raw LZMA stream with one fixed filter. It ends
in its own end mark, and to read it takes 8 MiB and the text, whatever the bytes say.
"""

from __future__ import annotations

import codecs
import lzma

import numpy as np
from numpy.typing import NDArray

from latentpress.errors import ItemError

__all__ = [
    "MAX_TEXT_BYTES",
    "SNIFFED_BYTES",
    "TEXT_SUFFIXES",
    "looks_like_text",
    "pack_text",
    "read_text",
    "unpack_text",
    "write_text",
]

MAX_TEXT_BYTES = 1 << 28
"""Bound on the bytes of one text."""

SNIFFED_BYTES = 1 << 13
"""How much of a file without a known suffix is looked at."""

_PROSE = ".txt .text .md .markdown .rst .adoc .org .tex .bib .sty .cls .log .srt .vtt .po"
_DATA = (
    ".json .jsonl .ndjson .geojson .csv .tsv .xml .xsd .xsl .svg .toml .yaml .yml .ini .cfg .conf .properties"
)
_PAGES = ".html .htm .xhtml .css .scss .less .js .mjs .cjs .jsx .ts .tsx .vue .php"
_CODE = (
    ".py .pyi .pyx .ipynb .c .h .cc .cpp .cxx .hh .hpp .hxx .cu .cuh .rs .go .java .kt .kts .scala .groovy "
    ".swift .m .mm .cs .fs .vb .rb .pl .pm .lua .sql .r .jl .hs .ml .mli .clj .ex .exs .erl .lisp .el .scm "
    ".sh .bash .zsh .fish .bat .ps1 .cmake .mk .gradle .proto .asm .s .f .f90 .zig .nim .dart .tcl .awk"
)
_PATCHES = ".diff .patch"

TEXT_SUFFIXES = frozenset(" ".join((_PROSE, _DATA, _PAGES, _CODE, _PATCHES)).split())
"""Suffixes, in lower case, of files that are taken for text where nobody named them one by one."""

_FILTERS = [
    {
        "id": lzma.FILTER_LZMA1,
        "dict_size": 1 << 23,
        "lc": 3,
        "lp": 0,
        "pb": 0,
        "mode": lzma.MODE_NORMAL,
        "nice_len": 273,
        "mf": lzma.MF_BT4,
        "depth": 0,
    }
]


def read_text(data: bytes) -> NDArray[np.uint8]:
    """Returns a file's bytes as an array (T, 1); raises `ItemError` where they are too many.

    >>> read_text(b"ab").tolist()
    [[97], [98]]
    """
    if len(data) > MAX_TEXT_BYTES:
        raise ItemError(f"{len(data)} bytes are more than the limit of {MAX_TEXT_BYTES}")
    return np.frombuffer(data, np.uint8).reshape(-1, 1).copy()


def write_text(symbols: NDArray[np.uint8]) -> bytes:
    r"""The inverse of `read_text`.

    >>> write_text(read_text(b"\xff\r\n"))
    b'\xff\r\n'
    """
    if symbols.dtype != np.uint8 or symbols.ndim != 2 or symbols.shape[1] != 1:
        raise ItemError(f"a text is uint8 (T, 1), got {symbols.dtype} {symbols.shape}")
    return symbols.tobytes()


def looks_like_text(head: bytes) -> bool:
    r"""Whether the first `SNIFFED_BYTES` of a file are UTF-8 without a zero byte, cut anywhere.

    >>> looks_like_text("zwölf".encode()), looks_like_text(b"\x7fELF\x02\x01\x01\0")
    (True, False)
    """
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head, final=len(head) < SNIFFED_BYTES)
    except UnicodeDecodeError:
        return False
    return b"\0" not in head


def pack_text(data: bytes) -> bytes:
    """The raw LZMA stream of some bytes.

    >>> unpack_text(pack_text(b"again and again and again"), 25)
    b'again and again and again'
    """
    return lzma.compress(data, format=lzma.FORMAT_RAW, filters=_FILTERS)


def unpack_text(packed: bytes, length: int) -> bytes:
    """The inverse of `pack_text`; the bytes may be hostile.

    Args:
        packed: the stream.
        length: how many bytes it must give; no more than these are unpacked.

    Raises:
        ItemError: the stream is damaged, goes on after its end, or is of another text.
    """
    stream = lzma.LZMADecompressor(format=lzma.FORMAT_RAW, filters=_FILTERS)
    try:
        data = stream.decompress(packed, length + 1)
    except lzma.LZMAError:
        raise ItemError("damaged text: its LZMA stream cannot be read") from None
    if len(data) != length or not stream.eof or stream.unused_data:
        raise ItemError("damaged text: it is longer or shorter than it says")
    return data
