"""What conventional codecs make of the same items: at equal bytes where they lose something, or without loss.

Which codecs there are, and how items are joined into one picture or archive, is the item's to say
(`Item.lossy_baselines`, `Item.lossless_baselines`, `Item.join`).

A lossy codec has one integer quality setting. For a budget of bytes, `Search.at_bytes` finds by bisection
the two neighbouring settings whose sizes enclose the budget and interpolates between them, linearly
in the logarithm of the bytes: rate-distortion curves are close to straight lines there. Items that
are searched together share the setting, and the budget is their total.

Small items are mostly headers as files (a JPEG of 32 x 32 pixels needs some 300 bytes before its first
coefficient). So small items of one size are compared twice: joined, so that headers cost nothing and the
codec sees as much context as it can use, and as `files` of their own that share a quality setting, both with
the archive's bytes in all. Larger ones are compared `each`: every item at the bytes that it takes in the
archive, then averaged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from latentpress.errors import ConfigError
from latentpress.evaluate.quality import Distortion, Quality, distortion, distortion_each, interpolate, join
from latentpress.items.base import Baseline, Item, Joined, LossyBaseline, Samples

__all__ = ["Comparison", "Match", "RatePoint", "Search", "choose", "compare_at_bytes", "compare_lossless"]

SMALL_POSITIONS = 1 << 14
"""Up to so many positions an item is small."""

_FACTORS = (0.5, 1.0, 2.0)  # of the budget: the points of a rate-distortion curve


@dataclass(frozen=True)
class RatePoint:
    """A point of a rate-distortion curve: bytes of all items, and their pooled PSNR."""

    size_bytes: int
    psnr_db: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What another codec makes of the same items.

    Attributes:
        codec: its name.
        layout: "files", "each", or how the items were joined, such as "mosaic" or "tar" (see the module).
        size_bytes: bytes of the codec; of a lossy one the budget, or what it needs at least (more) or at
            best (less).
        budget_bytes: bytes of the archive, for a lossy codec.
        smaller_bytes: bytes at the settings just below, between which and the ones above it is
            interpolated.
        larger_bytes: bytes at the settings just above.
        quality: of the restored items, where something is lost.
        curve: at half, once and twice the budget; empty for "files".
    """

    codec: str
    layout: str
    size_bytes: int
    budget_bytes: int | None = None
    smaller_bytes: int | None = None
    larger_bytes: int | None = None
    quality: Quality | None = None
    curve: tuple[RatePoint, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether the codec can do with the budget at all."""
        return self.budget_bytes is None or self.size_bytes <= self.budget_bytes


class _Named(Protocol):
    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=_Named)


def choose(baselines: Sequence[T], names: Sequence[str] | None) -> tuple[T, ...]:
    """The baselines of these names, of which the first word is enough; all of them for None.

    Raises:
        ConfigError: there is none of that name, or it is not installed.

    >>> from latentpress.items import Image
    >>> [codec.name for codec in choose(Image().lossy_baselines(), ["webp", "jpeg"])]
    ['webp', 'jpeg']
    """
    if names is None:
        return tuple(baselines)
    known = {baseline.name.split()[0]: baseline for baseline in baselines}
    known |= {baseline.name: baseline for baseline in baselines}
    if missing := [name for name in names if name not in known]:
        there = ", ".join(baseline.name for baseline in baselines) or "none"
        more = "latentpress[bench] installs more"
        raise ConfigError(f"no codec {missing[0]!r} to compare with; there are: {there}; {more}")
    return tuple(known[name] for name in names)


def compare_lossless(
    item: Item, codecs: Sequence[Baseline], items: Callable[[], Iterable[Samples]]
) -> tuple[Comparison, ...]:
    """What lossless codecs need for items as files of their own and, where they can be joined, as one.

    Args:
        item: their kind.
        codecs: see `Item.lossless_baselines`.
        items: gives the items, one after another, each time it is called.
    """
    totals = dict.fromkeys((codec.name for codec in codecs), 0)
    for samples in items() if codecs else ():
        for codec in codecs:
            totals[codec.name] += len(codec.pack(samples))
    results = [Comparison(codec=name, layout="files", size_bytes=size) for name, size in totals.items()]
    everything = list(items()) if codecs else []
    joined = item.join(everything) if len(everything) > 1 else None
    for codec in codecs if joined is not None else ():
        size = len(codec.pack(joined.samples))
        results.append(Comparison(codec=codec.name, layout=joined.layout, size_bytes=size))
    return tuple(results)


def compare_at_bytes(
    item: Item,
    codecs: Sequence[LossyBaseline],
    items: Callable[[], Iterable[Samples]],
    shares: Sequence[float],
    archive_bytes: int,
    progress: Callable[[str, int], None],
) -> tuple[Comparison, ...]:
    """What lossy codecs make of items at the bytes of an archive.

    Args:
        item: their kind.
        codecs: see `Item.lossy_baselines`.
        items: gives the items, one after another, each time it is called.
        shares: bytes of each item in the archive.
        archive_bytes: of all of it.
        progress: called with the name of the codec that is next, and how many are done.

    >>> from latentpress.items import Image
    >>> image = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    >>> jpeg = choose(Image().lossy_baselines(), ["jpeg"])
    >>> lambda_ = lambda: [image, image]
    >>> (found,) = compare_at_bytes(Image(), jpeg, lambda_, [70000, 80000], 150001, lambda *_: None)
    >>> found.layout, found.size_bytes, found.fits
    ('each', 150000, True)
    """
    small = _small_alike(items())
    joined = item.join(small) if small and codecs else None
    results: list[Comparison] = []
    for done, codec in enumerate(codecs):
        progress(codec.name, done)
        if joined is None:
            results.append(_compare_each(item, codec, zip(items(), shares, strict=True)))
            continue
        together = Search(codec, [joined.samples], _measure_joined(item, small, joined))
        results.append(_comparison(codec, joined.layout, archive_bytes, _ladder(together, archive_bytes)))
        apart = Search(codec, small, lambda restored: distortion_each(item, small, restored))
        results.append(_comparison(codec, "files", archive_bytes, {1.0: [apart.at_bytes(archive_bytes)]}))
    return tuple(results)


def _small_alike(items: Iterable[Samples]) -> list[Samples]:
    """The items where they are small, of one size, and more than one; none otherwise."""
    taken: list[Samples] = []
    for samples in items:
        if samples[..., 0].size > SMALL_POSITIONS or (taken and samples.shape != taken[0].shape):
            return []
        taken.append(samples)
    return taken if len(taken) > 1 else []


def _measure_joined(
    item: Item, items: Sequence[Samples], joined: Joined
) -> Callable[[list[Samples]], Distortion]:
    originals = np.stack(items)
    return lambda restored: distortion(item, originals, np.stack(joined.split(restored[0])))


def _compare_each(item: Item, codec: LossyBaseline, items: Iterable[tuple[Samples, float]]) -> Comparison:
    """Compares every item at its own budget of bytes; holds one item at a time."""
    ladders: list[Mapping[float, list[Match]]] = []
    total = 0
    for samples, share in items:
        budget = max(1, round(share))
        total += budget
        ladders.append(_ladder(Search(codec, [samples], _measure_one(item, samples)), budget))
    return _comparison(
        codec, "each", total, {f: [match for each in ladders for match in each[f]] for f in _FACTORS}
    )


def _measure_one(item: Item, samples: Samples) -> Callable[[list[Samples]], Distortion]:
    return lambda restored: distortion_each(item, [samples], restored)


@dataclass(frozen=True)
class Match:
    """A codec's result for a budget of bytes.

    Attributes:
        size_bytes: the budget where two settings enclose it, otherwise the size at the nearest setting.
        smaller_bytes: size at the setting just below (equal to `size_bytes` without interpolation).
        larger_bytes: size at the setting just above.
        distortion: per item, interpolated.
    """

    size_bytes: int
    smaller_bytes: int
    larger_bytes: int
    distortion: Distortion


class Search:
    """Finds what a codec makes of some items at given budgets, remembering what was encoded.

    Args:
        codec: the codec.
        pieces: arrays (*size, C), coded with one common setting.
        measure: compares the restored pieces with what they should be.
    """

    def __init__(
        self,
        codec: LossyBaseline,
        pieces: Sequence[Samples],
        measure: Callable[[list[Samples]], Distortion],
    ) -> None:
        self._codec = codec
        self._pieces = pieces
        self._measure = measure
        self._files: dict[int, list[bytes]] = {}
        self._distortions: dict[int, Distortion] = {}

    def size(self, quality: int) -> int:
        """Total bytes of the pieces' files at a setting."""
        if quality not in self._files:
            self._files[quality] = [self._codec.encode(piece, quality) for piece in self._pieces]
        return sum(map(len, self._files[quality]))

    def distortion(self, quality: int) -> Distortion:
        """Distortion at a setting."""
        if quality not in self._distortions:
            self.size(quality)
            pairs = zip(self._files[quality], self._pieces, strict=True)
            self._distortions[quality] = self._measure(
                [self._codec.decode(data, piece) for data, piece in pairs]
            )
        return self._distortions[quality]

    def at_bytes(self, budget: int) -> Match:
        """Result at `budget` bytes in all, interpolated between the two settings around it.

        Every item's PSNR and other measures are taken linearly in log(bytes). A budget under the lowest
        setting's size gives that setting, one over the highest setting's size gives that one.
        """
        below, above = self._codec.lowest, self._codec.highest
        if self.size(below) >= budget:
            return self._at(below)
        if self.size(above) <= budget:
            return self._at(above)
        while above - below > 1:  # size(below) < budget <= size(above), even where sizes are not monotone
            middle = (below + above) // 2
            below, above = (middle, above) if self.size(middle) < budget else (below, middle)
        smaller, larger = self.size(below), self.size(above)
        share = math.log(budget / smaller) / math.log(larger / smaller)
        between = interpolate(self.distortion(below), self.distortion(above), share)
        return Match(budget, smaller, larger, between)

    def _at(self, quality: int) -> Match:
        size = self.size(quality)
        return Match(size, size, size, self.distortion(quality))


def _ladder(search: Search, budget: int) -> dict[float, list[Match]]:
    return {factor: [search.at_bytes(round(factor * budget))] for factor in _FACTORS}


def _comparison(
    codec: LossyBaseline, layout: str, budget_bytes: int, ladder: Mapping[float, Sequence[Match]]
) -> Comparison:
    points = {RatePoint(_total(matches), _quality(matches).psnr_db) for matches in ladder.values()}
    equal = ladder[1.0]
    return Comparison(
        codec=codec.name,
        layout=layout,
        size_bytes=_total(equal),
        budget_bytes=budget_bytes,
        smaller_bytes=sum(match.smaller_bytes for match in equal),
        larger_bytes=sum(match.larger_bytes for match in equal),
        quality=_quality(equal),
        curve=tuple(sorted(points, key=lambda point: point.size_bytes)) if len(ladder) > 1 else (),
    )


def _total(matches: Sequence[Match]) -> int:
    return sum(match.size_bytes for match in matches)


def _quality(matches: Sequence[Match]) -> Quality:
    return join([match.distortion for match in matches]).summary()
