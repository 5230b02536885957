"""Texts: the bytes of a file as they are, uint8 (T, 1); T may be 0.

Any bytes are a text: nothing is decoded, so line ends, encodings and what is no text at all come back as
they were. Their prediction residual is the byte minus the one before it (mod 256).
"""

from __future__ import annotations

import codecs
import lzma
import posixpath
import tarfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Annotated, BinaryIO, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from latentpress.errors import ItemError
from latentpress.items import text_codecs
from latentpress.items.base import (
    Content,
    Joined,
    LossyBaseline,
    Samples,
    Shape,
    Symbols,
    Words,
    write_bytes,
)
from latentpress.strict import Strict, within

__all__ = ["MAX_TEXT_BYTES", "SNIFFED_BYTES", "TEXT_SUFFIXES", "Text", "looks_like_text"]

MAX_TEXT_BYTES = 1 << 40  # of one text
SNIFFED_BYTES = 1 << 13  # how much of a file without a known suffix is looked at

_SUFFIXES = """
txt text md markdown rst adoc org tex bib sty cls log srt vtt po diff patch html htm xhtml css scss less vue
php json jsonl ndjson geojson csv tsv xml xsd xsl svg toml yaml yml ini cfg conf properties js mjs cjs jsx ts
tsx py pyi pyx ipynb c h cc cpp cxx hh hpp hxx cu cuh rs go java kt kts scala groovy swift m mm cs fs vb rb pl
pm lua sql r jl hs ml mli clj ex exs erl lisp el scm sh bash zsh fish bat ps1 cmake mk gradle proto asm s f
f90 zig nim dart tcl awk
"""
TEXT_SUFFIXES = frozenset("." + suffix for suffix in _SUFFIXES.split())
"""Suffixes, in lower case, of files that are taken for texts where nobody named them one by one."""

_LZMA1 = {"id": lzma.FILTER_LZMA1, "dict_size": 1 << 23, "lc": 3, "lp": 0, "pb": 0}
_FILTERS = [_LZMA1 | {"mode": lzma.MODE_NORMAL, "nice_len": 273, "mf": lzma.MF_BT4, "depth": 0}]


@dataclass(frozen=True, kw_only=True)
class Text(Strict):
    """Texts, byte by byte; new ones have the `size` (T,).

    >>> Text().open(BytesIO(b"abc")).read(1, 3).tolist()
    [[98], [99]]
    """

    kind: Literal["text"] = "text"
    size: Annotated[tuple[int] | None, within(1, MAX_TEXT_BYTES)] = None

    channels = 1
    low = 0
    levels = 256
    dtype = np.dtype(np.uint8)
    alphabets = (256,)
    axes: ClassVar[tuple[str, ...]] = ("byte",)
    words: ClassVar[Words] = Words("text", "texts", "byte")
    suffix: ClassVar[str | None] = None
    new_suffix: ClassVar[str] = ".txt"
    default_size: ClassVar[Shape] = (1024,)
    ordinal: ClassVar[bool] = False
    lossy: ClassVar[bool] = False
    epoch: ClassVar[Literal["item", "sample"]] = "sample"
    picture: ClassVar[tuple[int, int] | None] = None
    mirror: ClassVar[int | None] = None
    segment: ClassVar[int] = 1 << 14
    foreign: ClassVar[str] = "neither the suffix of a text nor UTF-8"
    tells_hidden: ClassVar[bool] = True

    def takes(self, name: str, head: Callable[[int], bytes]) -> bool:
        """Texts are known by their suffix, and other files are texts if they begin as UTF-8."""
        return posixpath.splitext(name)[1].lower() in TEXT_SUFFIXES or looks_like_text(head(SNIFFED_BYTES))

    def opens_zip(self, name: str) -> bool:
        """A document may be a zip archive inside; that is the document's affair."""
        return posixpath.splitext(name)[1].lower() == ".zip"

    def open(self, file: BinaryIO, *, convert: bool = False) -> Content:
        """Takes the bytes as they are, and reads them when they are asked for."""
        length = file.seek(0, 2)
        if length > MAX_TEXT_BYTES:
            raise ItemError(f"{length} bytes are more than the limit of {MAX_TEXT_BYTES}")

        def read(start: int, stop: int) -> Samples:
            file.seek(start)
            data = np.frombuffer(bytearray(file.read(stop - start)), np.uint8)
            if len(data) != stop - start:
                raise ItemError("the file became shorter while it was read")
            return data[:, None]

        return Content((length, 1), read)

    def fit(self, samples: Samples, *, convert: bool = False) -> Samples:
        """Checks that samples are bytes (T, 1)."""
        if samples.dtype != np.uint8 or samples.ndim != 2 or samples.shape[1] != 1:
            raise ItemError(f"a text is uint8 (T, 1), got {samples.dtype} {samples.shape}")
        return samples

    def narrowed(self, contents: Iterable[Content]) -> Text:
        """All texts are alike."""
        return self

    def write(self, content: Content, file: BinaryIO) -> None:
        """Writes the bytes, piece by piece."""
        write_bytes(Content(content.shape, lambda i, j: self.fit(content.read(i, j))), file)

    def to_symbols(self, samples: Samples, before: Samples | None = None, *, residual: bool) -> Symbols:
        """The bytes, or their differences."""
        if not residual:
            return samples
        return np.diff(samples, axis=0, prepend=np.uint8(0) if before is None else before[-1:])

    def from_symbols(self, symbols: Symbols, before: Samples | None = None, *, residual: bool) -> Samples:
        """The inverse of `to_symbols`."""
        if not residual:
            return symbols
        return symbols.cumsum(axis=0, dtype=np.uint8) + (np.uint8(0) if before is None else before[-1:])

    def pack(self, samples: Samples) -> bytes | None:
        """A raw LZMA stream with one fixed filter, with an end mark."""
        return lzma.compress(samples.tobytes(), format=lzma.FORMAT_RAW, filters=_FILTERS)

    def unpack(self, data: bytes, shape: Shape) -> Samples:
        """The inverse of `pack`: takes 8 MiB and the text, whatever the bytes say."""
        stream = lzma.LZMADecompressor(format=lzma.FORMAT_RAW, filters=_FILTERS)
        try:
            text = stream.decompress(data, shape[0] + 1)
        except lzma.LZMAError:
            raise ItemError("damaged text: its LZMA stream cannot be read") from None
        if len(text) != shape[0] or not stream.eof or stream.unused_data:
            raise ItemError("damaged text: it is longer or shorter than it says")
        return np.frombuffer(bytearray(text), np.uint8).reshape(shape)

    def is_lossy(self, head: bytes) -> bool:
        """No text is."""
        return False

    def pack_file(self, data: bytes) -> bytes | None:
        """Files are texts as they are."""
        return None

    def unpack_file(self, data: bytes, shape: Shape) -> bytes:
        """Nothing was packed."""
        raise ItemError("damaged text: no file of a text is packed")

    def preset(self, extents: NDArray[np.int64]) -> tuple[str, str]:
        """Always the same."""
        return "text", "texts are restored to the byte"

    lossless_baselines = staticmethod(text_codecs.lossless_texts)
    primed_baselines = staticmethod(text_codecs.primed_texts)

    def lossy_baselines(self) -> tuple[LossyBaseline, ...]:
        """None."""
        return ()

    def join(self, items: Sequence[Samples]) -> Joined | None:
        """Puts texts into a tar archive."""
        buffer = BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for number, text in enumerate(items):
                about = tarfile.TarInfo(f"{number:05d}.txt")
                about.size = len(text)
                archive.addfile(about, BytesIO(text.tobytes()))

        def split(joined: Samples) -> list[Samples]:
            with tarfile.open(fileobj=BytesIO(joined.tobytes())) as archive:
                parts = [archive.extractfile(each) for each in archive]
                return [np.frombuffer(part.read(), np.uint8)[:, None] for part in parts if part is not None]

        return Joined("tar", np.frombuffer(buffer.getvalue(), np.uint8)[:, None], split)


def looks_like_text(head: bytes) -> bool:
    """Whether the first `SNIFFED_BYTES` of a file are UTF-8 without a zero byte, cut anywhere."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head, final=len(head) < SNIFFED_BYTES)
    except UnicodeDecodeError:
        return False
    return b"\0" not in head
