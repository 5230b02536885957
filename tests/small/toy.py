"""A kind of item that the package knows nothing of: short films of 16-bit samples, defined here alone."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from latentpress.errors import ItemError
from latentpress.items.base import Baseline, Content, Joined, LossyBaseline, Samples, Shape, Symbols, Words
from latentpress.strict import Strict

__all__ = ["Toy"]

_HEAD = struct.Struct("<4sIIII")
_MAGIC = b"TOY1"
_RATE = "ticks_per_second"


@dataclass(frozen=True, kw_only=True)
class Toy(Strict):
    """Films of one channel: a file is a header, a tick rate, and the samples as they are."""

    kind: Literal["toy"] = "toy"
    size: tuple[int, int, int] | None = None

    axes: ClassVar[tuple[str, ...]] = ("time", "row", "column")
    words: ClassVar[Words] = Words("toy", "toys", "cell")
    suffix: ClassVar[str | None] = ".toy"
    new_suffix: ClassVar[str] = ".toy"
    default_size: ClassVar[Shape] = (4, 4, 4)
    ordinal: ClassVar[bool] = True
    lossy: ClassVar[bool] = True
    epoch: ClassVar[Literal["item", "sample"]] = "item"
    picture: ClassVar[tuple[int, int] | None] = (1, 2)
    mirror: ClassVar[int | None] = None
    segment: ClassVar[int] = 1 << 10
    foreign: ClassVar[str] = "no toy"
    tells_hidden: ClassVar[bool] = False

    @property
    def channels(self) -> int:
        return 1

    @property
    def low(self) -> int:
        return 0

    @property
    def levels(self) -> int:
        return 1 << 16

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint16)

    @property
    def alphabets(self) -> tuple[int, ...]:
        return 256, 256

    def takes(self, name: str, head: Callable[[int], bytes]) -> bool:
        return name.endswith(".toy")

    def opens_zip(self, name: str) -> bool:
        return True

    def open(self, file: BinaryIO, *, convert: bool = False) -> Content:
        file.seek(0)
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size or head[:4] != _MAGIC:
            raise ItemError("damaged toy: no header")
        _, rate, *size = _HEAD.unpack(head)
        row = 2 * size[1] * size[2]
        file.seek(0, 2)
        if not row or not size[0] or file.tell() != _HEAD.size + size[0] * row:
            raise ItemError("damaged toy: another length than its header says")

        def read(start: int, stop: int) -> Samples:
            file.seek(_HEAD.size + start * row)
            data = file.read((stop - start) * row)
            return np.frombuffer(data, "<u2").reshape(stop - start, size[1], size[2], 1).astype(np.uint16)

        return Content((*size, 1), read, {_RATE: rate})

    def fit(self, samples: Samples, *, convert: bool = False) -> Samples:
        if samples.dtype != np.uint16 or samples.ndim != 4 or samples.shape[-1] != 1 or 0 in samples.shape:
            raise ItemError(f"a toy is uint16 (T, H, W, 1), got {samples.dtype} {samples.shape}")
        return samples

    def narrowed(self, contents: Iterable[Content]) -> Toy:
        return self

    def write(self, content: Content, file: BinaryIO) -> None:
        file.write(_HEAD.pack(_MAGIC, content.attributes.get(_RATE, 0), *content.size))
        for row in range(content.shape[0]):
            file.write(self.fit(content.read(row, row + 1)).astype("<u2").tobytes())

    def to_symbols(self, samples: Samples, before: Samples | None = None, *, residual: bool) -> Symbols:
        values = samples
        if residual:
            first = np.zeros_like(samples[:1]) if before is None else before[-1:]
            values = samples - np.concatenate([first, samples[:-1]])
        return np.concatenate([values >> 8, values & 255], axis=-1).astype(np.uint8)

    def from_symbols(self, symbols: Symbols, before: Samples | None = None, *, residual: bool) -> Samples:
        values = (symbols[..., :1].astype(np.uint16) << 8) | symbols[..., 1:]
        if residual:
            values = values.cumsum(axis=0, dtype=np.uint16)
            if before is not None:
                values += before[-1:]
        return values

    def pack(self, samples: Samples) -> bytes | None:
        return zlib.compress(samples.astype("<u2").tobytes(), 9)

    def unpack(self, data: bytes, shape: Shape) -> Samples:
        length = 2 * int(np.prod(shape))
        stream = zlib.decompressobj()
        try:
            found = stream.decompress(data, length + 1)
        except zlib.error:
            raise ItemError("damaged toy") from None
        if len(found) != length or not stream.eof or stream.unused_data:
            raise ItemError("damaged toy: of another size")
        return np.frombuffer(found, "<u2").reshape(shape).astype(np.uint16)

    def is_lossy(self, head: bytes) -> bool:
        return False

    def pack_file(self, data: bytes) -> bytes | None:
        return zlib.compress(data, 1) if data[:4] == _MAGIC else None

    def unpack_file(self, data: bytes, shape: Shape) -> bytes:
        stream = zlib.decompressobj()
        found = stream.decompress(data, _HEAD.size + 2 * int(np.prod(shape)) + 1)
        if not stream.eof or len(found) != _HEAD.size + 2 * int(np.prod(shape)):
            raise ItemError("damaged toy: another file")
        return found

    def preset(self, extents: NDArray[np.int64]) -> tuple[str, str]:
        return "tiny", "there is no other"

    def lossless_baselines(self) -> tuple[Baseline, ...]:
        return (Baseline("zlib", lambda samples: zlib.compress(samples.tobytes(), 9)),)

    def primed_baselines(self, training: Callable[[], Iterable[Content]], count: int) -> tuple[Baseline, ...]:
        return ()

    def lossy_baselines(self) -> tuple[LossyBaseline, ...]:
        return ()

    def join(self, items: Sequence[Samples]) -> Joined | None:
        return None
