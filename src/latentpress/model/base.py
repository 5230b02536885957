"""What press, evaluation, generation and the command line see of a model, whichever it is.

    samples --encode--> codes --decode--> samples            an archive's way, codes being integers
    samples --infer--> latents                               the training's way: `Latents`, and what they cost
    -log p(latents) = latent_nats,   -log p(samples | latents) = sample_nats

A model has an encoder, a latent space, a prior over the latents, and one decoder or both: `parallel`, which
gives all samples at once, and `autoregressive`, which gives one symbol after another and makes lossless
archives possible. Half a model lacks the other half's parts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from latentpress.autoregressive.decoder import AutoregressiveDecoder
from latentpress.autoregressive.integer.encoder import IntegerEncoder
from latentpress.config import AnyModelConfig, HalfName, PartName, from_json, to_json
from latentpress.counted import CountedDecoder
from latentpress.errors import CheckpointError, ConfigError, LatentpressError, MissingPartError
from latentpress.exact.distribution import Conditioning, Sampling
from latentpress.items.base import Item, Samples, Shape
from latentpress.model.decoders import counted_nats, decoder_fits
from latentpress.model.decoding import decode_autoregressive, decode_parallel, parallel_nats, symbol_nats
from latentpress.model.details import LatentDetails
from latentpress.model.device import resolve_device
from latentpress.model.files import read_model, write_model
from latentpress.model.integer import IntegerForms, IntegerPrior, split_tensors
from latentpress.model.labels import LabelNumbers, label_numbers, part_labels
from latentpress.model.latents import Latents
from latentpress.nn.blank import blank
from latentpress.nn.parallel import ParallelDecoder

__all__ = ["Model", "PriorName"]

PriorName = Literal["auxiliary", "ar1"]
"""Where a delta-VAE's new latents come from: the auxiliary prior, or the AR(1) prior of its objective."""

_CODE_SEED = int.from_bytes(b"latents")  # keeps the codes' random numbers apart from the samples'


class Model(nn.Module, ABC):
    """What the VQ-VAE and the delta-VAE share.

    Attributes:
        config: what the model is made of.
        integer: its integer forms, made after training.
        parallel: the decoder that gives all samples at once, or None.
        autoregressive: the network of the decoder that gives one symbol after another, or None; a counted one
            has none, and is among the integer forms alone.
        config_class: of `config`, as which a model folder's configuration is read.
        prior_class: of the prior's integer form.
        sides: the parts that only one half of a model has, and which half.
    """

    config_class: ClassVar[type[Any]]
    prior_class: ClassVar[type[Any]]
    sides: ClassVar[Mapping[PartName, HalfName]] = {
        "encoder": "encoder",
        "parallel": "decoder",
        "autoregressive": "decoder",
    }
    parallel: ParallelDecoder | None
    autoregressive: AutoregressiveDecoder | None

    def __init__(self, config: AnyModelConfig) -> None:
        super().__init__()
        self.config = config
        self.integer = IntegerForms()
        self.parallel = self.autoregressive = None

    # ---- files

    @classmethod
    def from_pretrained(cls, folder: str | Path, device: str | torch.device = "auto") -> Self:
        """Loads a model folder; raises `CheckpointError` where it is damaged, or of another model."""
        stored = read_model(Path(folder))
        try:
            with blank():
                model = cls(from_json(cls.config_class, stored.config))
        except (ConfigError, RuntimeError) as error:
            raise CheckpointError(f"{stored.path}: {error}") from None
        weights, forms = split_tensors(stored.tensors(model.state_dict()))
        model.load_state_dict(weights, assign=True)
        place = resolve_device(device)
        try:
            model.integer = model._read_forms(forms, place)
        except CheckpointError as error:
            raise CheckpointError(f"{stored.path}: {error}") from None
        return model.to(place).eval().requires_grad_(False)

    def save_pretrained(self, folder: str | Path, *, card: str = "") -> None:
        """Writes the model folder; `card` is the model card's Markdown."""
        plain = f"# A Latentpress model for {self.item.words.items}\n\nSee `config.json`.\n"
        tensors = {**self.state_dict(), **self.integer.tensors()}
        write_model(Path(folder), to_json(self.config), tensors, card or plain)

    # ---- what it is

    @property
    def item(self) -> Item:
        """The kind of its items."""
        return self.config.item

    @property
    def rank(self) -> int:
        """Axes of an item."""
        return len(self.item.axes)

    @property
    def device(self) -> torch.device:
        """Where the networks' weights are; the CPU where there are none."""
        return next((parameter.device for parameter in self.parameters()), torch.device("cpu"))

    @property
    @abstractmethod
    def hop(self) -> Shape:
        """Samples that a latent position spans along each axis."""

    @property
    @abstractmethod
    def alphabets(self) -> tuple[int, ...]:
        """Of the codes of a latent position; () where there are none."""

    @property
    @abstractmethod
    def codes_id(self) -> bytes:
        """Hash, 16 bytes, of what gives codes their meaning; encoder and decoder halves share it."""

    @property
    def stochastic(self) -> bool:
        """Whether decoding codes takes random numbers."""
        return self.config.parallel is None

    @property
    def residual(self) -> bool:
        """Whether the autoregressive decoder's symbols are prediction residuals."""
        decoder = self.config.autoregressive
        return decoder is not None and decoder.residual

    @property
    def half_name(self) -> HalfName | None:
        """Which half of a model this is; None where it is whole."""
        return self.config.half

    def has(self, part: PartName) -> bool:
        """Whether this half, or the whole model, is built with a part."""
        return self.half_name is None or self.sides.get(part, self.half_name) == self.half_name

    def require(self, part: PartName) -> None:
        """Raises `MissingPartError` where this is the half of a model that lacks the part."""
        if self.half_name is not None and not self.has(part):
            raise MissingPartError(self.half_name, self.sides[part])

    def grid(self, size: Sequence[int]) -> Shape:
        """The grid of latent positions of an item of that size."""
        return tuple(-(-extent // hop) for extent, hop in zip(size, self.hop, strict=True))

    def takes(self, shape: Shape) -> bool:
        """Whether items of this shape, (*size, C), can be encoded."""
        return len(shape) == self.rank + 1 and shape[-1] == self.item.channels and min(shape) >= 1

    def wanted(self) -> str:
        """The shape that `takes` takes, for messages."""
        return f"{' x '.join(self.item.axes)} of any extents, {self.item.channels} channels"

    # ---- labels

    def label_numbers(self, labels: Mapping[str, str | tuple[str, ...]], rows: int) -> LabelNumbers:
        """The numbers of an item's labels for this model's configuration; see `LabelNumbers`."""
        return label_numbers(self.config.labels, labels, rows)

    def labels_for(self, part: PartName, labels: Tensor | None) -> Tensor | None:
        """Of all labels of items, int64 (B, L) or (B, T, L), those that condition a part, as it takes them.

        Those of the prior are at the rows of the codes. None where nothing conditions the part.
        """
        config = getattr(self.config, part, None)
        rows = self.hop[0] if part == "prior" else 1
        return part_labels(self.config.labels, getattr(config, "labels", ()), labels, rows)

    # ---- codes

    @property
    @abstractmethod
    def encode_reach(self) -> int | None:
        """Rows of samples on each side that a row of codes depends on; None where it is the whole item."""

    @property
    def decode_reach(self) -> int | None:
        """Rows of codes on each side that a row of samples depends on; None where all before it matter."""
        return None if self.parallel is None else self.parallel.margin[0]

    @torch.inference_mode()
    def encode(self, samples: np.ndarray | Tensor) -> Tensor:
        """Codes of items.

        Args:
            samples: (B, *size, C), integers of the item's kind.

        Returns:
            (B, *grid, P) int64, on the CPU.

        Raises:
            ValueError: items of this shape cannot be encoded.
            MissingPartError: this is the decoder half.
        """
        return self._encode(samples, self.integer.prior)

    @abstractmethod
    def vectors_of(self, codes: Tensor, *, sampled: bool = False) -> Tensor:
        """The vectors (B, V, *grid) that decoders see for codes (B, *grid, P); `sampled` as for `decode`."""

    @torch.inference_mode()
    def decode(
        self,
        codes: np.ndarray | Tensor,
        size: Sequence[int],
        *,
        seed: int = 0,
        numbers: Sequence[int] | None = None,
        labels: Tensor | None = None,
        sampled: bool = False,
        temperature: float = 1.0,
        given: Samples | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Samples:
        """Items of codes: what the parallel decoder gives, or a draw from the autoregressive one.

        Args:
            codes: (B, *grid, P), as `encode` gives them.
            size: extents of the items.
            seed: of a draw.
            numbers: which items of the seed these are; by default 0, 1, ...
            labels: (B, L) or (B, T, L) numbers of all labels, as `label_numbers` gives them.
            sampled: whether the codes are those of `sample_codes`, which may have finer steps.
            temperature: divides the log-probabilities of a draw.
            given: (rows, *size[1:], C), with which every drawn item begins.
            progress: called on the way with how many symbols were drawn since the last call.

        Returns:
            (B, *size, C), of the item's type.
        """
        self.require("parallel")
        codes = torch.as_tensor(np.array(codes) if isinstance(codes, np.ndarray) else codes).to(torch.int64)
        if tuple(codes.shape[1:-1]) != self.grid(size):
            extents = " x ".join(map(str, size))
            raise ValueError(f"codes of shape {tuple(codes.shape)} do not fit an item of {extents}")
        if self.parallel is not None:
            vectors = lambda part: self.vectors_of(part.to(self.device), sampled=sampled)  # noqa: E731
            own = self.labels_for("parallel", labels)
            return decode_parallel(self.parallel, vectors, codes, size, self.item, own)
        decoder = self.integer.decoder if sampled else self.integer.archive_decoder
        if decoder is None:
            raise LatentpressError("the decoder has no integer form yet: it is made at the end of training")
        conditioning = decoder.conditioning(codes, size, labels=self.labels_for("autoregressive", labels))
        how = Sampling(seed=seed, temperature=temperature)
        network, count = decoder.network, len(codes)
        return decode_autoregressive(
            network, self.item, self.residual, count, size, conditioning, how, numbers, given, progress
        )

    @torch.inference_mode()
    def sample_codes(
        self,
        count: int,
        size: Sequence[int],
        how: Sampling,
        *,
        labels: Tensor | None = None,
        given: Samples | None = None,
        prior: PriorName | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Tensor:
        """Codes of new items, drawn from the prior in integers: one seed gives the same ones everywhere.

        Args:
            count: how many items.
            size: extents of each.
            how: see `Sampling`.
            labels: as for `decode`, (count, ...).
            given: (rows, *size[1:], C), with which every item begins: the codes of its whole latent rows are
                kept.
            prior: which prior, where there are two.
            progress: as for `decode`.

        Returns:
            (count, *grid, P) int64, for `decode(..., sampled=True)`.

        Raises:
            LatentpressError: there is no prior in integer form, or none of that name.
        """
        grid, distribution, prefix = self.grid(size), self._distribution(prior), None
        if distribution is None:
            return torch.zeros(count, *grid, 0, dtype=torch.int64)
        if given is not None:
            codes = self._encode(given[None], distribution)[:, : len(given) // self.hop[0]]
            prefix = codes.flatten(1, -2).expand(count, -1, -1)
        conditioning = Conditioning(labels=self.labels_for("prior", labels))
        how = replace(how, seed=how.seed ^ _CODE_SEED)
        return distribution.sample(
            count, grid, how, conditioning=conditioning, prefix=prefix, progress=progress
        )

    @abstractmethod
    def _distribution(self, prior: PriorName | None) -> IntegerPrior | None:
        """What new codes are drawn from; None where items have no codes. Raises as `sample_codes` does."""

    @abstractmethod
    def _encode(self, samples: np.ndarray | Tensor, distribution: IntegerPrior | None) -> Tensor:
        """As `encode`, codes in the steps of that distribution."""

    # ---- latents and what they cost

    @abstractmethod
    def infer(
        self, samples: Tensor, *, mask: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Latents:
        """Latents of items.

        Args:
            samples: (B, *size, C), integers.
            mask: (B, *size) bool, false at padding.
            generator: of the draw from the posterior, on the CPU, if there is one to draw from; by default
                torch's own.
        """

    @abstractmethod
    def latent_nats(self, latents: Latents, labels: Tensor | None = None) -> Tensor:
        """What latents cost under the best prior there is, in nats an item, (B,) float64 on the CPU.

        Of codes -log p(codes); of Gaussian latents KL(q || p), or its estimate under the auxiliary prior.
        """

    @torch.inference_mode()
    def sample_nats(
        self, samples: Tensor, latents: Latents, labels: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """-log p(samples | latents) of each item in nats, (B,) float64 on the CPU.

        Under the autoregressive decoder if it looks at latents, else under the parallel one.
        """
        if isinstance(counted := self.integer.decoder, CountedDecoder):
            return counted_nats(counted, samples, self.item, mask)
        config = self.config.autoregressive
        if self.autoregressive is None or (self.parallel is not None and not (config and config.use_latents)):
            assert self.parallel is not None
            own = self.labels_for("parallel", labels)
            return parallel_nats(self.parallel, samples, latents.vectors, self.item, own, mask)
        own = self.labels_for("autoregressive", labels)
        return symbol_nats(self.autoregressive, samples, latents.input, self.item, self.residual, own, mask)

    @abstractmethod
    def features(self, latents: Latents) -> Tensor:
        """What a linear classifier sees of latents, (B, D) on the CPU, the same D for items of all sizes."""

    @abstractmethod
    def details(self, latents: Latents) -> LatentDetails:
        """What the latents of some items say of the latent space: figures, a verdict, and a warning."""

    @abstractmethod
    def _fits(self, form: IntegerPrior | IntegerEncoder) -> bool:
        """Whether this may be the integer form of the model's prior, or of its encoder."""

    def _read_forms(self, tensors: Mapping[str, Mapping[str, Tensor]], device: torch.device) -> IntegerForms:
        """Integer forms from their tensors; raises `CheckpointError` where they do not fit the model."""
        forms = IntegerForms.from_tensors(tensors, self.prior_class, device)
        fits = {
            "prior": forms.prior is not None and self._fits(forms.prior),
            "decoder": decoder_fits(forms.decoder, self.config, self.autoregressive),
            "encoder": forms.encoder is not None and self._fits(forms.encoder),
        }
        if wrong := [name for name in tensors if not fits.get(name, False)]:
            raise CheckpointError(f"the integer {wrong[0]} does not fit the configuration")
        return forms

    def _check_samples(self, samples: Tensor) -> None:
        if samples.ndim != self.rank + 2 or not self.takes(tuple(samples.shape[1:])):
            raise ValueError(f"the model takes {self.wanted()}; got {tuple(samples.shape[1:])}")
