"""What conventional codecs make of the same items: at equal bytes where they lose something, or without loss.

Which codecs there are, and how items are joined into one picture or archive, is the item's to say
(`Item.lossy_baselines`, `Item.lossless_baselines`, `Item.join`), and which of them can know training items,
as the model does (`Item.primed_baselines`).

A lossy codec has one integer quality setting. For a budget of bytes, `Search.at_bytes` finds by bisection
the two neighbouring settings whose sizes enclose it and interpolates linearly in the logarithm of the bytes:
rate-distortion curves are close to straight lines there. Items that are searched together share the setting.

Small items are mostly headers as files (a JPEG of 32 x 32 pixels needs some 300 bytes before its first
coefficient). So small items of one size are compared twice: joined, so that the codec sees all the context
that it can use, and as `files` of their own that share a setting, both with the archive's bytes in all.
Larger ones are compared `each`: every item at the bytes that it takes in the archive, then averaged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from latentpress.errors import ConfigError
from latentpress.evaluate.quality import Distortion, Quality, distortion_each, interpolate, join
from latentpress.items.base import Baseline, Item, Joined, LossyBaseline, Samples

__all__ = ["Comparison", "RatePoint", "Search", "choose", "compare_at_bytes", "compare_lossless"]

SMALL_POSITIONS = 1 << 14  # of the largest small items
_CURVE = (0.5, 1.0, 2.0)  # times the budget: the points of a rate-distortion curve

Items = Callable[[], Iterable[Samples]]
"""Gives items, one after another, each time it is called."""

Progress = Callable[[str, int], None]
"""Called with the name of the codec that is next, and how many are done."""

T = TypeVar("T", Baseline, LossyBaseline)


class RatePoint(NamedTuple):
    """A point of a rate-distortion curve: bytes of all items, and their pooled PSNR."""

    size_bytes: int
    psnr_db: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What another codec makes of the same items.

    Attributes:
        layout: "files", "each", or how the items were joined, such as "mosaic" or "tar" (see the module).
        size_bytes: bytes of the codec; of a lossy one the budget, or what it needs at least (more) or at
            best (less).
        budget_bytes: bytes of the archive, for a lossy codec.
        quality: of the restored items, where something is lost.
        curve: at half, once and twice the budget; empty for "files".
        training_bytes: of the training items that the codec knows, which `size_bytes` leaves out.
    """

    codec: str
    layout: str
    size_bytes: int
    budget_bytes: int | None = None
    quality: Quality | None = None
    curve: tuple[RatePoint, ...] = ()
    training_bytes: int = 0

    @property
    def fits(self) -> bool:
        """Whether the codec can do with the budget at all."""
        return self.budget_bytes is None or self.size_bytes <= self.budget_bytes


def choose(baselines: Sequence[T], names: Sequence[str] | None) -> tuple[T, ...]:
    """The baselines of these names, or whose names have these first words; all of them for None.

    Raises:
        ConfigError: there is none of that name, or it is not installed.

    >>> from latentpress.items import Image
    >>> [codec.name for codec in choose(Image().lossy_baselines(), ["webp", "jpeg"])]
    ['webp', 'jpeg']
    """
    if names is None:
        return tuple(baselines)
    known: dict[str, list[T]] = {}
    for each in baselines:
        for name in {each.name.split()[0], each.name}:
            known.setdefault(name, []).append(each)
    if missing := [name for name in names if name not in known]:
        there = ", ".join(each.name for each in baselines) or "none"
        more = "latentpress[bench] installs more"
        raise ConfigError(f"no codec {missing[0]!r} to compare with; there are: {there}; {more}")
    return tuple(dict.fromkeys(each for name in names for each in known[name]))


def compare_lossless(
    item: Item, codecs: Sequence[Baseline], items: Items, progress: Progress
) -> tuple[Comparison, ...]:
    """What lossless codecs need for items as files of their own and, where they can be joined, as one."""
    everything = list(items()) if codecs else []
    joined = item.join(everything) if len(everything) > 1 else None
    results: list[Comparison] = []
    for done, codec in enumerate(codecs):
        progress(codec.name, done)
        sizes = {"files": sum(len(codec.pack(samples)) for samples in everything)}
        if joined is not None:
            sizes[joined.layout] = len(codec.pack(joined.samples))
        results += [
            Comparison(codec=codec.name, layout=layout, size_bytes=size, training_bytes=codec.training_bytes)
            for layout, size in sizes.items()
        ]
    return tuple(results)


def compare_at_bytes(
    item: Item,
    codecs: Sequence[LossyBaseline],
    items: Items,
    shares: Sequence[float],
    archive_bytes: int,
    progress: Progress,
) -> tuple[Comparison, ...]:
    """What lossy codecs make of items of a kind at the bytes of an archive.

    `shares` are bytes of each item in the archive, `archive_bytes` those of all of it.
    """
    small = _small_alike(items()) if codecs else []
    joined = item.join(small) if small else None
    results: list[Comparison] = []
    for done, codec in enumerate(codecs):
        progress(codec.name, done)
        if joined is None:
            budgets = (max(1, round(share)) for share in shares)
            alone = ((Search(item, codec, [s]), budget) for s, budget in zip(items(), budgets, strict=True))
            results.append(_compare(codec, "each", alone, _CURVE))
        else:
            together, apart = Search(item, codec, small, joined), Search(item, codec, small)
            results.append(_compare(codec, joined.layout, [(together, archive_bytes)], _CURVE))
            results.append(_compare(codec, "files", [(apart, archive_bytes)], (1.0,)))
    return tuple(results)


def _small_alike(items: Iterable[Samples]) -> list[Samples]:
    """The items where they are small, of one size, and more than one; none otherwise."""
    taken: list[Samples] = []
    for samples in items:
        if samples[..., 0].size > SMALL_POSITIONS or (taken and samples.shape != taken[0].shape):
            return []
        taken.append(samples)
    return taken if len(taken) > 1 else []


class Search:
    """Finds what a codec makes of some items at given budgets, remembering what was encoded.

    The items, arrays (*size, C), are coded with one common setting, or, if that is given, `joined` as one.
    """

    def __init__(
        self, item: Item, codec: LossyBaseline, items: Sequence[Samples], joined: Joined | None = None
    ) -> None:
        self._item, self._codec, self._items, self._joined = item, codec, items, joined
        self._pieces = items if joined is None else [joined.samples]
        self._files: dict[int, list[bytes]] = {}
        self._distortions: dict[int, Distortion] = {}

    def size(self, quality: int) -> int:
        """Total bytes of the files at a setting."""
        if quality not in self._files:
            self._files[quality] = [self._codec.encode(piece, quality) for piece in self._pieces]
        return sum(map(len, self._files[quality]))

    def distortion(self, quality: int) -> Distortion:
        """Distortion at a setting."""
        if quality not in self._distortions:
            self.size(quality)
            pairs = zip(self._files[quality], self._pieces, strict=True)
            restored = [self._codec.decode(data, piece) for data, piece in pairs]
            items = restored if self._joined is None else self._joined.split(restored[0])
            self._distortions[quality] = distortion_each(self._item, self._items, items)
        return self._distortions[quality]

    def at_bytes(self, budget: int) -> tuple[int, Distortion]:
        """Bytes and distortion at `budget` bytes in all, interpolated between the two settings around it.

        Every item's PSNR and other measures are taken linearly in log(bytes). A budget under the lowest
        setting's size gives that setting, one over the highest setting's size gives that one.
        """
        below, above = self._codec.lowest, self._codec.highest
        for end, beyond in ((below, self.size(below) >= budget), (above, self.size(above) <= budget)):
            if beyond:
                return self.size(end), self.distortion(end)
        while above - below > 1:  # size(below) < budget <= size(above), even where sizes are not monotone
            middle = (below + above) // 2
            below, above = (middle, above) if self.size(middle) < budget else (below, middle)
        smaller, larger = self.size(below), self.size(above)
        share = math.log(budget / smaller) / math.log(larger / smaller)
        return budget, interpolate(self.distortion(below), self.distortion(above), share)


def _compare(
    codec: LossyBaseline, layout: str, searches: Iterable[tuple[Search, int]], factors: Sequence[float]
) -> Comparison:
    """A codec at the budgets of several searches; holds one search at a time."""
    budgets: list[int] = []
    matches: list[list[tuple[int, Distortion]]] = []
    for search, budget in searches:
        budgets.append(budget)
        matches.append([search.at_bytes(round(factor * budget)) for factor in factors])
    found = {
        factor: (sum(size for size, _ in column), join([each for _, each in column]).summary())
        for factor, column in zip(factors, zip(*matches, strict=True), strict=True)
    }
    size, quality = found[1.0]
    points = sorted({RatePoint(size, quality.psnr_db) for size, quality in found.values()})
    return Comparison(
        codec=codec.name,
        layout=layout,
        size_bytes=size,
        budget_bytes=sum(budgets),
        quality=quality,
        curve=tuple(points) if len(factors) > 1 else (),
    )
