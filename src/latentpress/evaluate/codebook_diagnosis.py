"""What a VQ-VAE's codes are worth: how many are in use, what they cost, and what the decoder makes of them.

Usage alone proves nothing, since a decoder may do without the codes: so beside it stands how much worse
the decoder does with another image's.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from latentpress.data.loading import Pool
from latentpress.errors import LatentpressError
from latentpress.evaluate.gathering import labels_of
from latentpress.evaluate.probe import probe_accuracy
from latentpress.evaluate.rates import prior_nats, reconstruction_nats
from latentpress.latents import CodeUsage
from latentpress.model import VQVAE

__all__ = ["CodebookDiagnosis", "diagnose_codebook"]

_LEAST_GAP = 0.05  # nats an image: below it the decoder does not care whose codes it has
_COLLAPSED = 0.1  # a perplexity below this share of what could be is a collapse,
_LEAST_PERPLEXITY = 1.5  # and one below this in any case
_BATCH_PIXELS = 1 << 19
_REGIONS = 4  # a side, over each of which the probe sees the mean of the embedded codes


@dataclass(frozen=True, kw_only=True)
class CodebookDiagnosis:
    """Figures of a VQ-VAE on some images; what is said of an item is the mean over them.

    Attributes:
        num_items: images.
        dims_per_item: samples, pixels times channels.
        codes_per_item: codes.
        codebook_size: K.
        num_codebooks: P.
        used: codes that came, of K x P.
        perplexity: of their distribution, 1 to K, the mean over the partitions.
        reconstruction_nats: -log p(x | codes) of an item under the decoder.
        prior_nats: cross-entropy of an item's codes under the float prior; log K a code without one.
        shuffled_gap_nats: how much -log p(x | codes) grows with the codes of another image of the same
            size; None where no two have one size,
        shuffled_dims_per_item: the samples of those images.
        probe_accuracy: of a linear classifier of the labels on the embedded codes, averaged over 4 x 4
            regions of the image, by twofold cross-validation; None without labels,
        majority_share: beside the share of the commonest label.
    """

    num_items: int
    dims_per_item: float
    codes_per_item: float
    codebook_size: int
    num_codebooks: int
    used: int
    perplexity: float
    reconstruction_nats: float
    prior_nats: float
    shuffled_gap_nats: float | None = None
    shuffled_dims_per_item: float | None = None
    probe_accuracy: float | None = None
    majority_share: float | None = None

    @property
    def usage(self) -> float:
        """Share of the codes that came, 0 to 1."""
        return self.used / (self.codebook_size * self.num_codebooks)

    @property
    def bits_per_code(self) -> float:
        """What a code costs under the prior."""
        return self.prior_nats / math.log(2) / self.codes_per_item

    @property
    def reconstruction_bits_per_dim(self) -> float:
        """-log2 p(x | codes) per dimension."""
        return self.reconstruction_nats / math.log(2) / self.dims_per_item

    @property
    def shuffled_gap_bits_per_dim(self) -> float | None:
        """The loss with the codes of another image per dimension."""
        if self.shuffled_gap_nats is None or self.shuffled_dims_per_item is None:
            return None
        return self.shuffled_gap_nats / math.log(2) / self.shuffled_dims_per_item

    @property
    def collapsed(self) -> bool:
        """Whether few of the codes that could have come did."""
        possible = min(self.codebook_size, self.num_items * self.codes_per_item / self.num_codebooks)
        return self.perplexity < max(_LEAST_PERPLEXITY, _COLLAPSED * possible)

    @property
    def verdict(self) -> str:
        """One sentence."""
        said = (
            f"{self.used:,} of {self.num_codebooks} x {self.codebook_size:,} came, as unevenly as if there "
            f"were {self.perplexity:.1f}, {self.bits_per_code:.2f} bits each"
        )
        if self.collapsed:
            return (
                f"The codebook has collapsed ({said}): raise latents.dead_code_threshold or "
                "latents.commitment_weight, or take a smaller latents.codebook_size."
            )
        if self.shuffled_gap_nats is None or self.shuffled_gap_bits_per_dim is None:
            return (
                f"The codes vary ({said}); whether the decoder uses them takes two images of one size to say."
            )
        if self.shuffled_gap_nats < _LEAST_GAP:
            return f"The decoder does not use the codes ({said}, and another image's do as well): train on."
        return (
            f"The codes are in use: {said}, and the decoder loses {self.shuffled_gap_bits_per_dim:.3f} "
            "bits/dim with another image's."
        )

    def to_json(self) -> str:
        """All figures, those that follow from them, and `verdict`."""
        more = {
            "usage": self.usage,
            "bits_per_code": self.bits_per_code,
            "reconstruction_bits_per_dim": self.reconstruction_bits_per_dim,
            "shuffled_gap_bits_per_dim": self.shuffled_gap_bits_per_dim,
            "verdict": self.verdict,
        }
        return json.dumps(asdict(self) | more, indent=2)


def diagnose_codebook(
    model: VQVAE,
    pool: Pool,
    *,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> CodebookDiagnosis:
    """Measures a VQ-VAE on images that it was not trained on.

    Arguments:
        model: in evaluation mode.
        pool: the images, of any sizes; their labels are for the probe.
        seed: of the order in which codes change hands.
        progress: called with what is being measured, how many images of it are done, and of how many.

    >>> from latentpress.config import ConvConfig, VQVAEConfig
    >>> from latentpress.data.loading import load_pool
    >>> from latentpress.data.sources import array_source
    >>> small = ConvConfig(width=32, depths=(0, 1))
    >>> model = VQVAE(VQVAEConfig(encoder=small, decoder=small, prior=None)).eval()
    >>> pool = load_pool(array_source(np.zeros((2, 8, 8, 3), np.uint8)))
    >>> diagnose_codebook(model, pool).bits_per_code
    9.0
    """
    if len(pool) < 2:
        raise LatentpressError("a diagnosis compares items with one another: give it two or more")
    return _Measuring(model, pool, seed, progress or _silent).diagnosed()


@dataclass
class _Measuring:
    """Images and, batch by batch, what is found of them."""

    model: VQVAE
    pool: Pool
    seed: int
    report: Callable[[str, int, int], None]
    codes: dict[int, Tensor] = field(default_factory=dict)  # by the image's number, of 16 bits a code

    def diagnosed(self) -> CodebookDiagnosis:
        count, latents = len(self.pool), self.model.config.latents
        nats = np.zeros((2, count))  # given the codes, and of the codes
        usage = torch.zeros(latents.num_codebooks, latents.codebook_size, dtype=torch.int64)
        features = torch.zeros(count, latents.num_codebooks * latents.code_dim * _REGIONS**2)
        labels, done = self._prior_labels(), 0
        for numbers in self._batches():
            pixels = self._pixels(numbers)
            codes = self.model.encode(pixels)
            own = None if labels is None else labels[torch.from_numpy(numbers)]
            nats[0, numbers] = reconstruction_nats(self.model, pixels, codes).numpy()
            nats[1, numbers] = prior_nats(self.model, codes, own).numpy()
            usage += CodeUsage.of(codes, latents.codebook_size).counts
            features[torch.from_numpy(numbers)] = self._features(codes)
            self.codes.update(zip(numbers.tolist(), codes.to(torch.uint16), strict=True))
            done += len(numbers)
            self.report("codes", done, count)
        others = self._others()
        gap, dims = self._gap(others, nats[0]), self._dims(np.array(sorted(others), np.int64))
        accuracy, majority = probe_accuracy(features, labels_of(self.pool))
        counted = CodeUsage(usage)
        return CodebookDiagnosis(
            num_items=count,
            dims_per_item=float(self._dims(np.arange(count)).mean()),
            codes_per_item=sum(codes.numel() for codes in self.codes.values()) / count,
            codebook_size=latents.codebook_size,
            num_codebooks=latents.num_codebooks,
            used=counted.used,
            perplexity=counted.perplexity,
            reconstruction_nats=float(nats[0].mean()),
            prior_nats=float(nats[1].mean()),
            shuffled_gap_nats=float(gap.mean()) if len(gap) else None,
            shuffled_dims_per_item=float(dims.mean()) if len(gap) else None,
            probe_accuracy=accuracy,
            majority_share=majority,
        )

    def _gap(self, others: dict[int, int], own: np.ndarray) -> np.ndarray:
        """How much worse the decoder does with the codes of others, of each image that has one, in nats."""
        gaps, done = [], 0
        for batch in self._batches():
            numbers = batch[[int(number) in others for number in batch]]
            if not len(numbers):
                continue
            codes = torch.stack([self.codes[others[int(number)]] for number in numbers]).long()
            found = reconstruction_nats(self.model, self._pixels(numbers), codes).numpy()
            gaps.append(found - own[numbers])
            done += len(numbers)
            self.report("codes of others", done, len(others))
        return np.concatenate([np.zeros(0), *gaps])

    def _others(self) -> dict[int, int]:
        """Another image of the same size for each image that has one."""
        generator, others = np.random.Generator(np.random.PCG64(self.seed)), {}
        for alike in self._alike():
            order = generator.permutation(alike)
            if len(order) > 1:
                others.update(zip(order.tolist(), np.roll(order, 1).tolist(), strict=True))
        return others

    def _alike(self) -> list[np.ndarray]:
        """The numbers of the images of each size."""
        _, sizes = np.unique(self.pool.shapes[:, 1:], axis=0, return_inverse=True)
        return [np.flatnonzero(sizes.ravel() == size) for size in range(sizes.max() + 1)]

    def _batches(self) -> Iterator[np.ndarray]:
        """Numbers of images of one size, as many as go through the networks at once."""
        for alike in self._alike():
            run = max(1, _BATCH_PIXELS // int(self.pool.shapes[alike[0], 1:].prod()))
            for start in range(0, len(alike), run):
                yield alike[start : start + run]

    def _pixels(self, numbers: np.ndarray) -> np.ndarray:
        return np.stack([self.pool[int(number)] for number in numbers])

    def _dims(self, numbers: np.ndarray) -> np.ndarray:
        return self.pool.shapes[numbers, 1:].prod(axis=1) * self.model.config.item.channels

    @torch.inference_mode()
    def _features(self, codes: Tensor) -> Tensor:
        """What the probe sees of codes (B, rows, columns, P): (B, D)."""
        vectors = self.model.latents.decode(codes.to(self.model.device))
        return F.adaptive_avg_pool2d(vectors, _REGIONS).flatten(1).cpu()

    def _prior_labels(self) -> Tensor | None:
        """Each image's class for a prior that knows classes, -1 where it knows none of that name."""
        if not self.model.num_classes:
            return None
        names, known = self.pool.label_names, {name: n for n, name in enumerate(self.model.config.labels)}
        return torch.tensor([-1 if n < 0 else known.get(names[n], -1) for n in self.pool.labels])


def _silent(stage: str, done: int, total: int) -> None:
    """Reports nothing."""
