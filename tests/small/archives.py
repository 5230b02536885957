"""Codecs in integers and items for them, for tests of archives: the same on every machine, without training.

Their networks in integer form are drawn from a seed, so that they expect small symbols (in texts the letters
from a on), and their codes follow from samples by integers alone. `Case` is a codec and a way of compressing.
"""

from __future__ import annotations

import copy
import io
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentpress.autoregressive.integer.decoder import IntegerDecoder
from latentpress.autoregressive.integer.encoder import IntegerEncoder
from latentpress.autoregressive.integer.network import IntegerNetwork
from latentpress.coding import Archive, Mode, Part
from latentpress.config import CountedDecoderConfig, CountedPriorConfig, DeltaVAEConfig
from latentpress.counted import CountedBytes, CountedDecoder, CountedGrid, CountedPictures
from latentpress.counted.grids.pieces import Piece
from latentpress.data import ItemRef, Source
from latentpress.exact.distribution import Conditioning, Sampling
from latentpress.items.base import Item, Samples, Shape
from latentpress.model import VQVAE, DeltaVAE, IntegerForms, Model
from latentpress.press import Summary, compress
from latentpress.press.matching import CODED
from small.configs import ITEMS, autoregressive, delta_vae, vq_vae
from small.lstm import fixed_lstm

__all__ = [
    "CASES",
    "ONE_OF_EACH",
    "Case",
    "archive_of",
    "assert_near",
    "assert_same",
    "changed",
    "codec",
    "compressed",
    "expected_samples",
    "flat_samples",
    "forms_of",
    "items_for",
    "noise_samples",
    "small_items",
    "source_of",
]

_RESIDUAL = {("vq", "image"), ("vq", "colour"), ("vq", "toy"), ("delta", "toy")}
_CODES = 16


class IntegerVQVAE(VQVAE):
    """A VQ-VAE whose codes are hashes of the samples of their hop: half of them are 0, a quarter 1, ..."""

    meaning = b"vq codes of sums"

    @property
    def codes_id(self) -> bytes:
        return self.meaning

    def encode(self, samples: np.ndarray | Tensor) -> Tensor:
        self.require("encoder")
        values = np.asarray(samples).astype(np.int64)
        self._check_samples(torch.from_numpy(values))
        edges = [(0, -side % hop) for side, hop in zip(values.shape[1:-1], self.hop, strict=True)]
        values = np.pad(values, [(0, 0), *edges, (0, 0)], "edge").sum(-1)
        for axis, hop in enumerate(self.hop, start=1):
            values = np.add.reduceat(values, np.arange(0, values.shape[axis], hop), axis=axis)
        components = [
            _trailing_zeros((values + 1) * (2 * p + 1) * 2654435761 >> 7) for p in range(len(self.alphabets))
        ]
        return torch.from_numpy(np.stack(components, axis=-1))


def _trailing_zeros(numbers: np.ndarray) -> np.ndarray:
    zeros = np.zeros_like(numbers)
    for bits in range(1, _CODES):
        zeros += numbers % (1 << bits) == 0
    return zeros


class IntegerDeltaVAE(DeltaVAE):
    """A delta-VAE whose codes are draws from its prior, seeded with the sum of the samples."""

    meaning = b"codes of a delta"

    @property
    def codes_id(self) -> bytes:
        return self.meaning

    def encode(self, samples: np.ndarray | Tensor) -> Tensor:
        self.require("encoder")
        values = np.asarray(samples).astype(np.int64)
        self._check_samples(torch.from_numpy(values))
        grid, prior = self.grid(values.shape[1:-1]), self.integer.prior
        if prior is None:
            return torch.zeros(len(values), *grid, 0, dtype=torch.int64)
        return torch.cat([prior.sample(1, grid, Sampling(seed=int(each.sum()))) for each in values])


def integers(shape: tuple[int, ...], seed: int, most: int) -> Tensor:
    """Integers -most..most that follow from the seed alone."""
    return torch.from_numpy(np.random.Generator(np.random.PCG64(seed)).integers(-most, most + 1, shape))


def drawn(tensors: dict[str, Tensor], seed: int, slope: int = 16) -> dict[str, Tensor]:
    """Tensors of these names, types and shapes; every symbol takes `slope` / 32 bits more than the last."""
    result = {}
    for number, (name, value) in enumerate(sorted(tensors.items())):
        part = name.rpartition(".")[2]
        if part == "structure":
            new = value
        elif part in ("shift", "scale"):
            new = torch.full_like(value, 5 if part == "shift" else 6)
        elif part == "bias":
            new = integers(tuple(value.shape), seed + number, 500)
            if "gates" in name:
                new = new + 32 * torch.tensor([512, 1536]).repeat_interleave(value.shape[-1] // 2)
            elif "logits" in name:
                new = new + 32 * -torch.clamp(slope * torch.arange(value.shape[-1]), max=400)
        else:
            most = {"weight": 3 if "logits" in name else 40, "context_exponents": 3}.get(part, 100)
            new = integers(tuple(value.shape), seed + number, most)
        result[name] = new.to(value.dtype)
    return result


@cache
def codec(model: str, item: str, decoders: str = "both", seed: int = 0, **settings: Any) -> Model:
    """A codec in evaluation mode; do not change it.

    Args:
        model: "vq", "delta", "alone" for a delta-VAE without latents, "counted" for one that counts, or
            "vq-counted" for a VQ-VAE whose prior counts.
        item: of `ITEMS`.
        decoders: of `small.configs.DECODERS`.
        seed: of the integers.
        settings: of the configuration, by `small.configs.vq_vae` or `delta_vae`.
    """
    if model == "counted":
        return _counted(ITEMS[item], seed)
    torch.manual_seed(0)
    kind = ITEMS[item]
    if decoders != "parallel":
        decoder = autoregressive(residual=(model, item) in _RESIDUAL, **dict(settings.pop("decoder", ())))
        settings = {"autoregressive": decoder, **settings}
    if model.startswith("vq"):
        built: Model = IntegerVQVAE(vq_vae(kind, decoders, **settings))
    else:
        alone = {"latents": None, "auxiliary": None} if model == "alone" else {}
        if not kind.ordinal:  # letters of which a latent has to tell eight
            settings = {"encoder": replace(delta_vae(kind).encoder, hop=(8,)), "parallel": None, **settings}
        built = IntegerDeltaVAE(delta_vae(kind, decoders, **alone, **settings))
    built.eval().requires_grad_(False)
    built.integer = _forms(built, kind, seed)
    if model == "vq-counted":
        counting = CountedPriorConfig(network=built.config.prior.network)  # type: ignore[union-attr]
        built.config = replace(built.config, prior=counting)  # type: ignore[arg-type]
        built.integer = replace(built.integer, prior=_counted_prior(built, seed))
    return built


def _counted_prior(model: Model, seed: int) -> CountedGrid:
    """That has seen codes which are not all as likely."""
    assert isinstance(model.integer.prior, IntegerNetwork)
    random, grid = np.random.default_rng(seed), (3,) * model.rank
    symbols = random.binomial(15, 0.3, (3**model.rank, 8, len(model.alphabets))).astype(np.int32)
    order = [np.arange(size) for size in model.alphabets]
    piece = Piece(grid, np.zeros((8, 1, 0), np.int32), symbols)
    return CountedGrid.primed_by(order, [piece], model.integer.prior, lambda _: None)


def _counted(kind: Item, seed: int) -> Model:
    counted = CountedDecoderConfig()
    config = DeltaVAEConfig(item=kind, latents=None, auxiliary=None, autoregressive=counted)
    built = IntegerDeltaVAE(config).eval()
    size = (20, 24) if kind.picture else (200,)
    items = [expected_samples(built, size, 100 + number + seed) for number in range(8)]
    total = sum(each.size for each in items)
    if kind.picture:
        network = CountedPictures.primed_by(items, kind.channels, total, lambda _: None)
    else:
        network = CountedBytes.primed_by([each[:, 0] for each in items], total, lambda _: None)
    built.integer = IntegerForms(decoder=CountedDecoder(network))
    return built


def changed(model: Model, meaning: bytes | None = None, **forms: Any) -> Model:
    """A copy of a model with other integer forms, or whose codes have another meaning."""
    other = copy.copy(model)
    other.integer = replace(model.integer, **forms)
    if meaning is not None:
        other.meaning = meaning  # type: ignore[assignment]
    return other


def _forms(model: Model, item: Item, seed: int) -> IntegerForms:
    assert item.size is not None
    symbols = torch.zeros(1, *item.size, len(item.alphabets), dtype=torch.int64)
    codes = torch.zeros(1, *model.grid(item.size), 2, dtype=torch.int64)
    prior = decoder = encoder = None
    labels = torch.zeros(1, len(model.config.labels), dtype=torch.int64) if model.config.labels else None
    if isinstance(model, VQVAE) and model.prior is not None:
        conditioning = Conditioning(labels=model.labels_for("prior", labels))
        prior = IntegerNetwork(
            drawn(IntegerNetwork.convert(model.prior, codes, conditioning).tensors(), seed + 1, 32)
        )
    if isinstance(model, DeltaVAE) and model.latents is not None:
        prior = fixed_lstm()
    if model.autoregressive is not None:
        codebook = model.latents.codebook if isinstance(model, VQVAE) else None
        own = model.labels_for("autoregressive", labels)
        made = IntegerDecoder.convert(model.autoregressive, symbols, codes, codebook=codebook, labels=own)
        tensors = drawn(made.tensors(), seed + 2)
        if not item.ordinal:
            name = "network.heads.0.logits.bias"
            tensors[name] = tensors[name].roll(ord("a"), dims=-1)
        decoder = IntegerDecoder.from_tensors(tensors)
    if isinstance(model, DeltaVAE) and model.latents is not None:
        encoder = _encoder(model, symbols, seed + 4)
    return IntegerForms(prior=prior, decoder=decoder, encoder=encoder)


def _encoder(model: DeltaVAE, symbols: Tensor, seed: int) -> IntegerEncoder:
    assert model.encoder is not None and model.latents is not None
    made = IntegerEncoder.convert(model.encoder, model.latents.posterior, symbols).tensors()  # type: ignore[arg-type]
    tensors, table = drawn(made, seed), np.arange(4096) - 2048
    tensors["shape"] = made["shape"]
    tensors["hidden.shift"] = torch.full_like(made["hidden.shift"], 9)
    tensors["out.shift"] = torch.full_like(made["out.shift"], 6)
    tensors["out.bias"] = (integers(tuple(made["out.bias"].shape), 5, 500) + (2048 << 6)).to(torch.int32)
    for name, values in (("means", table * 6), ("shifts", table // 16), ("spreads", table)):
        tensors[name] = torch.from_numpy(values).to(torch.int32)
    tensors["bases"] = integers((4, 2), 6, 100).to(torch.int32) + 1600
    return IntegerEncoder(tensors)


# Items


def expected_samples(model: Model, size: Shape, seed: int = 0) -> Samples:
    """What the decoder expects, and conventional codecs make little of."""
    item = model.item
    random = np.random.Generator(np.random.PCG64(seed)).random((*size, len(item.alphabets)))
    symbols = np.minimum(-2 * np.log(random), 120).astype(np.uint8) + (0 if item.ordinal else ord("a"))
    return item.from_symbols(symbols.astype(np.uint8), residual=model.residual)


def flat_samples(item: Item, size: Shape, seed: int = 0) -> Samples:
    """What conventional codecs make little of."""
    steps = sum(axis // (4 + n) for n, axis in enumerate(np.indices(size)))
    values = item.low + (steps + seed) % 5 * (item.levels // 8)
    return np.repeat(np.asarray(values)[..., None], item.channels, axis=-1).astype(item.dtype)


def noise_samples(item: Item, size: Shape, seed: int = 0) -> Samples:
    """What nothing makes smaller."""
    shape = (*size, item.channels)
    random = np.random.Generator(np.random.PCG64(seed)).integers(item.low, item.low + item.levels, shape)
    return random.astype(item.dtype)


def items_for(model: Model, count: int = 5) -> dict[str, Samples]:
    """Items for every form; the folder of a name says which one a lossless archive takes."""
    item = model.item
    rows, *further = item.size or ()
    sizes = [(rows * (4 if item.ordinal else 12), *further)] * count
    sizes += [(rows * 5 + 1, *further), (rows * 5 + 2, *further)]
    items = {f"model/{n:02d}": expected_samples(model, size, n) for n, size in enumerate(sizes)}
    items |= {f"packed/{n}": flat_samples(item, (rows * 16 + n, *further), n) for n in range(2)}
    items["raw/noise"] = noise_samples(item, (5, *further), 3)
    return {name + item.new_suffix: samples for name, samples in items.items()}


def source_of(model: Model, items: dict[str, Samples], **labels: dict[str, Any]) -> Source:
    """A source of items in memory; `labels` are those of an item by its name, label by label."""
    given = {
        name: {label: values[name] for label, values in labels.items() if name in values} for name in items
    }
    return Source(model.item, tuple(ItemRef.of(n, samples, given[n]) for n, samples in items.items()))


def compressed(model: Model, items: dict[str, Samples] | Source, **options: Any) -> tuple[bytes, Summary]:
    """An archive, and the summary."""
    out = io.BytesIO()
    source = items if isinstance(items, Source) else source_of(model, items)
    summary = compress(model, source, out, **options)
    return out.getvalue(), summary


def assert_near(restored: Samples, samples: Samples, *, exact: bool) -> None:
    """Compares samples; convolutions of other extents or batches may round another way, of half a level."""
    assert restored.shape == samples.shape and restored.dtype == samples.dtype
    most = np.abs(restored.astype(np.int64) - samples.astype(np.int64)).max(initial=0)
    assert most <= (0 if exact else 1)


# Cases


WAYS: dict[str, dict[str, Any]] = {
    "lossy": {},
    "lossless": {"lossless": True},
    "bits-back": {"lossless": True, "bits_back": True},
}


@dataclass(frozen=True)
class Case:
    """A codec and a way of compressing."""

    model: str
    item: str
    decoders: str
    way: str

    def __str__(self) -> str:
        return f"{self.model}-{self.item}-{self.decoders}-{self.way}"

    @property
    def codec(self) -> Model:
        return codec(self.model, self.item, self.decoders)

    @property
    def options(self) -> dict[str, Any]:
        return WAYS[self.way]

    @property
    def possible(self) -> bool:
        if self.way == "lossy":
            return ITEMS[self.item].lossy
        if not ITEMS[self.item].lossy and self.decoders == "both":
            return False
        return self.decoders != "parallel" and (self.way != "bits-back" or self.model == "delta")


def _cases() -> list[Case]:
    every = itertools.product(("vq", "delta"), ITEMS, ("parallel", "autoregressive", "both"), WAYS)
    cases = [case for case in itertools.starmap(Case, every) if case.possible]
    cases += [Case("alone", item, "autoregressive", "lossless") for item in ("image", "text")]
    counted = [Case("counted", kind, "autoregressive", "lossless") for kind in ("text", "image", "colour")]
    priors = [Case("vq-counted", kind, "both", "lossy") for kind in ("image", "colour", "toy")]
    priors += [Case("vq-counted", kind, "autoregressive", "lossy") for kind in ("colour",)]
    return [*cases, *counted, *priors]


CASES = _cases()

ONE_OF_EACH = [
    case
    for case in CASES
    if (case.item, case.decoders) in {("colour", "both"), ("toy", "both"), ("text", "autoregressive")}
]


def small_items(model: Model) -> dict[str, Samples]:
    """An item in each form, as small as they may be."""
    rows, *further = model.item.size
    rows *= 8 if model.item.ordinal else 12
    return {
        name: samples
        for number in range(3)
        for name, samples in {
            f"{number}.model": items_for(model)[f"model/0{number}{model.item.new_suffix}"],
            f"{number}.packed": flat_samples(model.item, (rows, *further), number),
            f"{number}.raw": noise_samples(model.item, (2, *further), number),
        }.items()
        if number == 0 or "model" in name
    }


def assert_same(restored: Mapping[str, Samples], items: Mapping[str, Samples]) -> None:
    """Names, types and samples."""
    assert sorted(restored) == sorted(items)
    for name, samples in items.items():
        assert restored[name].dtype == samples.dtype and np.array_equal(restored[name], samples), name


def forms_of(archive: Archive) -> dict[str, tuple[Part, Mode]]:
    """The part and the mode in which each item's samples, or codes, are stored."""
    leaves = (CODED[archive.header.content], Part.FALLBACK)
    return {
        archive.items[lane.item].name: (block.part, mode)
        for block, mode in zip(archive.layout, archive.modes, strict=True)
        for lane in block.lanes
        if block.part in leaves
    }


def archive_of(model: Model, items: dict[str, Samples], case: Case) -> Archive:
    """The archive that a case makes of items."""
    return Archive(io.BytesIO(compressed(model, items, **case.options)[0]))
