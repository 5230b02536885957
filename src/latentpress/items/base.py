"""What a kind of item is: a frozen dataclass with the methods of `Item`, on files, arrays and symbols.

    file <--open, write--> samples <--to_symbols, from_symbols--> symbols
                           samples <--pack, unpack--> bytes

*Samples* are an array (*size, C), *symbols* an array (*size, P) of what an autoregressive decoder predicts
and a lossless archive codes: P small integers at each position, component p below `alphabets[p]`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, ClassVar, Literal, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from latentpress.errors import ItemError

__all__ = [
    "Attributes",
    "Baseline",
    "Content",
    "Item",
    "Joined",
    "LossyBaseline",
    "Samples",
    "Shape",
    "Symbols",
    "Words",
    "read_whole",
    "residuals_are_cheaper",
    "write_bytes",
]

Samples = NDArray[Any]
Symbols = NDArray[Any]
Shape = tuple[int, ...]
Attributes = Mapping[str, int]
"""What an item has but its samples, such as a sample rate: names of a-z and _, integers 0 to 2^64 - 1."""

MAX_FILE_BYTES = 1 << 29  # of kinds that decode files whole
_PIECE = 1 << 22  # bytes that are written at once


class Words(NamedTuple):
    """What messages call one item, several of them, and a position of one: "image", "images", "pixel"."""

    item: str
    items: str
    position: str


@dataclass(frozen=True, eq=False)
class Content:
    """An item's samples, which are read by ranges along the first axis, and its attributes.

    Args:
        shape: (*size, C).
        read: the samples of rows start to stop - 1 along the first axis, (stop - start, ..., C).
        attributes: see `Attributes`.
        besides: names of what the file holds that is neither, such as "EXIF"; only the file itself keeps it.

    >>> content = Content.of(np.arange(6, dtype=np.uint8).reshape(3, 2))
    >>> content.read(1, 3).tolist(), content.samples.shape
    ([[2, 3], [4, 5]], (3, 2))
    """

    shape: Shape
    read: Callable[[int, int], Samples]
    attributes: Attributes = field(default_factory=dict)
    besides: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, samples: Samples, attributes: Attributes | None = None, besides: tuple[str, ...] = ()
    ) -> Content:
        """Those of an array in memory."""
        return cls(samples.shape, lambda start, stop: samples[start:stop], attributes or {}, besides)

    @property
    def size(self) -> Shape:
        """Extents without the channels."""
        return self.shape[:-1]

    @property
    def samples(self) -> Samples:
        """All samples at once."""
        return self.read(0, self.shape[0])


@dataclass(frozen=True)
class Baseline:
    """A lossless codec to compare with: `pack` makes a whole file of samples.

    `training_bytes` are those of the training items that it knows, which are not in the file.
    """

    name: str
    pack: Callable[[Samples], bytes]
    training_bytes: int = 0


@dataclass(frozen=True)
class LossyBaseline:
    """A lossy codec to compare with, of one integer quality from `lowest` to `highest`.

    `encode` makes a whole file of samples at a quality, `decode` restores samples of the shape of its second
    argument.
    """

    name: str
    lowest: int
    highest: int
    encode: Callable[[Samples, int], bytes]
    decode: Callable[[bytes, Samples], Samples]


class Joined(NamedTuple):
    """Several items in one file, as baselines may have them too.

    `layout` is what this is called, `samples` what is coded, and `split` its inverse: it cuts those, or what
    a codec restored of them, into the items.
    """

    layout: str
    samples: Samples
    split: Callable[[Samples], list[Samples]]


class Item(Protocol):
    """A kind of item: what is known of it, and what it does with files, samples and symbols."""

    axes: ClassVar[tuple[str, ...]]  # names of the axes of `size`: as many as the rank of all networks
    words: ClassVar[Words]  # for messages
    suffix: ClassVar[str | None]  # of files that items are restored to; None keeps the name that one had
    new_suffix: ClassVar[str]  # of files of items that never had a name
    default_size: ClassVar[Shape]  # of new items where `size` is None
    ordinal: ClassVar[bool]  # whether symbols are numbers, so that near ones mean nearly the same
    lossy: ClassVar[bool]  # whether items may be restored other than they were; if not, archives are lossless
    epoch: ClassVar[
        Literal["item", "sample"]
    ]  # what training shows once an epoch: each item (cut to a random
    # crop, edges replicated), or each sample (windows, masked where an item is shorter)
    picture: ClassVar[tuple[int, int] | None]  # the axes that are rows and columns to look at, if any are
    mirror: ClassVar[int | None]  # the axis along which items may be mirrored for training
    segment: ClassVar[int]  # positions that a lossless archive codes as one grid, a power of two
    foreign: ClassVar[str]  # why a file that is not taken is left out, for messages
    tells_hidden: ClassVar[bool]  # whether hidden files are worth a word that they are left out

    @property
    def kind(self) -> str:
        """Its name, by which configurations tell kinds apart."""
        ...

    @property
    def channels(self) -> int:
        """C, samples of a position."""
        ...

    @property
    def size(self) -> Shape | None:
        """Of new items, where it is given."""
        ...

    @property
    def low(self) -> int:
        """The least sample."""
        ...

    @property
    def levels(self) -> int:
        """How many values a sample has, from `low` on."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy's type of the samples."""
        ...

    @property
    def alphabets(self) -> tuple[int, ...]:
        """How many symbols each of the P components of a position has."""
        ...

    def takes(self, name: str, head: Callable[[int], bytes]) -> bool:
        """Whether a file that nobody named is such an item; `head(n)` gives its first n bytes."""
        ...

    def opens_zip(self, name: str) -> bool:
        """Whether a zip archive of that name is a folder of items, rather than an item."""
        ...

    def open(self, file: BinaryIO, *, convert: bool = False) -> Content:
        """Reads a file's bytes, which may be hostile.

        Args:
            file: seekable; it stays open as long as the content is read.
            convert: whether to take what would lose something on the way (an alpha channel, colour, ...),
                which is refused otherwise.

        Raises:
            ItemError: damaged, truncated, too large, or of a kind that cannot be read.
        """
        ...

    def fit(self, samples: Samples, *, convert: bool = False) -> Samples:
        """Samples of an array (*size, C) in this item's channels and type; raises as `open` does."""
        ...

    def narrowed(self, contents: Iterable[Content]) -> Self:
        """The kind with no more channels (and the like) than items that it opened have."""
        ...

    def write(self, content: Content, file: BinaryIO) -> None:
        """Writes the file that an item is restored to; the inverse of `open` where that lost nothing."""
        ...

    def to_symbols(self, samples: Samples, before: Samples | None = None, *, residual: bool) -> Symbols:
        """Symbols (rows, ..., P) of some rows of samples along the first axis.

        Args:
            samples: (rows, ..., C).
            before: the rows just before, one at least, or None where these are the first.
            residual: whether symbols are prediction residuals rather than the samples themselves.
        """
        ...

    def from_symbols(self, symbols: Symbols, before: Samples | None = None, *, residual: bool) -> Samples:
        """The inverse of `to_symbols`, given the samples before."""
        ...

    def pack(self, samples: Samples) -> bytes | None:
        """What a strong conventional codec makes of samples, losslessly; None where it cannot take them."""
        ...

    def unpack(self, data: bytes, shape: Shape) -> Samples:
        """The inverse of `pack`; the bytes may be hostile, and no more than `shape` is decoded.

        Raises:
            ItemError: they are damaged, or of other samples.
        """
        ...

    def is_lossy(self, head: bytes) -> bool:
        """Whether a file of these first 16 bytes holds what a lossy codec made."""
        ...

    def pack_file(self, data: bytes) -> bytes | None:
        """What a reversible transcoding makes of a whole file; None where there is none.

        It need not be smaller, and what gives the file back is `unpack_file`, by which it is to be proven.
        """
        ...

    def unpack_file(self, data: bytes, shape: Shape) -> bytes:
        """The inverse of `pack_file`, for an item of this `shape`; the bytes may be hostile.

        Raises:
            ItemError: they are damaged, or of another item.
            LatentpressError: what it takes is not installed.
        """
        ...

    def preset(self, extents: NDArray[np.int64]) -> tuple[str, str]:
        """The preset to train on items of these extents (N, rank), and why, in a few words."""
        ...

    def lossless_baselines(self) -> tuple[Baseline, ...]:
        """The lossless codecs to compare with that are installed."""
        ...

    def primed_baselines(self, training: Callable[[], Iterable[Content]], count: int) -> tuple[Baseline, ...]:
        """The lossless codecs that are installed and can know training items, as a trained model does.

        Args:
            training: gives the training items, one after another, each time it is called.
            count: how many items are to be packed, which may bound how much of the training items is taken.

        Raises:
            ItemError: a training item cannot be read.
        """
        ...

    def lossy_baselines(self) -> tuple[LossyBaseline, ...]:
        """The lossy codecs to compare with that are installed."""
        ...

    def join(self, items: Sequence[Samples]) -> Joined | None:
        """Puts items (one at least) into one file; None where they do not go together."""
        ...


def write_bytes(content: Content, file: BinaryIO) -> None:
    """Writes content that is bytes, uint8 (T, 1), piece by piece."""
    for start in range(0, content.shape[0], _PIECE):
        file.write(content.read(start, min(start + _PIECE, content.shape[0])).tobytes())


def read_whole(file: BinaryIO) -> bytes:
    """A file's bytes; raises `ItemError` where they are more than `MAX_FILE_BYTES`."""
    file.seek(0)
    data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ItemError(f"the file has more than {MAX_FILE_BYTES >> 20} MiB")
    return data


def residuals_are_cheaper(item: Item, samples: Iterable[Samples]) -> bool:
    """Whether prediction residuals have a lower entropy of frequencies than the samples themselves."""
    counts = np.zeros((2, len(item.alphabets), max(item.alphabets)), np.int64)
    for each in samples:
        for residual in (0, 1):
            symbols = item.to_symbols(each, residual=bool(residual))
            for p, count in enumerate(counts[residual]):
                count += np.bincount(symbols[..., p].ravel(), minlength=len(count))
    shares = counts / np.maximum(1, counts.sum(axis=-1, keepdims=True))
    logarithms = np.log2(shares, where=shares > 0, out=np.zeros_like(shares))
    plain, residual_bits = -(shares * logarithms).sum(axis=(1, 2))
    return bool(residual_bits < plain)
