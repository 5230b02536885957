"""The delta-VAE (Razavi et al., arXiv 1901.03416): Gaussian latents with a committed rate, and decoders.

    samples --encoder--> q(z | x) --> z --decoder--> p(x | z)       KL(q || p) >= delta

The latents are sequences along the items' first axis, `channels` numbers for every `hop`; where a step has
several cells, each cell is a sequence. Beside the prior p(z) stands an auxiliary one, which learns how the
latents are really distributed and changes nothing else. In integers it is what archives are coded with.
"""

from __future__ import annotations

import hashlib
import math
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from latentpress.autoregressive.anticausal import AnticausalEncoder, RecurrentEncoder
from latentpress.autoregressive.integer.encoder import IntegerEncoder
from latentpress.coding.gaussians import LATENT_UNIT
from latentpress.config import AnticausalConfig, DeltaVAEConfig
from latentpress.errors import LatentpressError
from latentpress.items.base import Shape
from latentpress.latents import (
    AuxiliaryPrior,
    GaussianLatents,
    IntegerLSTM,
    Posterior,
    build_gaussian,
)
from latentpress.latents.information import active_units, mutual_information_nats
from latentpress.latents.sequences import as_sequences, from_sequences, mask_sequences
from latentpress.model.base import Model, PriorName
from latentpress.model.decoders import build_decoders
from latentpress.model.decoding import symbols_of
from latentpress.model.details import LatentDetails, posterior_details
from latentpress.model.integer import IntegerPrior
from latentpress.model.latents import Latents

__all__ = ["DeltaVAE"]

_BATCH_POSITIONS = 1 << 18  # that go through the encoder at once


class DeltaVAE(Model):
    """Encoder + Gaussian latents + decoders, and an auxiliary prior beside them.

    Args:
        config: what the parts are, and whether only one half of them is there. Without latents there are
            only the autoregressive decoder and p(x).

    Attributes:
        encoder: symbols (B, *S, P) -> numbers of every latent (B, params * d, *grid), or None.
        latents: the families of posterior and prior, or None.
        auxiliary: the auxiliary prior, or None.

    >>> from latentpress.config import AutoregressiveDecoderConfig, CausalConfig
    >>> decoder = AutoregressiveDecoderConfig(network=CausalConfig(width=8, depth=1))
    >>> model = DeltaVAE(DeltaVAEConfig(autoregressive=decoder))
    >>> latents = model.infer(torch.zeros(3, 40, 1, dtype=torch.int64))
    >>> latents.vectors.shape, bool((model.kl_nats(latents) >= model.committed_nats(40) - 1e-4).all())
    (torch.Size([3, 1, 40]), True)
    """

    config_class: ClassVar[type[DeltaVAEConfig]] = DeltaVAEConfig
    prior_class: ClassVar[type[IntegerLSTM]] = IntegerLSTM
    config: DeltaVAEConfig
    encoder: AnticausalEncoder | RecurrentEncoder | None
    latents: GaussianLatents | None
    auxiliary: AuxiliaryPrior | None

    def __init__(self, config: DeltaVAEConfig) -> None:
        super().__init__(config)
        item, latents = config.item, config.latents
        channels = latents.channels if latents is not None else 0
        self.latents = None if latents is None else build_gaussian(latents)
        self.encoder = None
        if self.latents is not None and self.has("encoder"):
            kind = AnticausalEncoder if isinstance(config.encoder, AnticausalConfig) else RecurrentEncoder
            outputs = self.latents.params * channels
            self.encoder = kind(config.encoder, item.alphabets, self.hop, outputs, channels)  # type: ignore[arg-type]
        seen = {"latents": channels, "unit": LATENT_UNIT, "grid_cells": bool(config.encoder.hop[1:])}
        self.parallel, self.autoregressive = build_decoders(config, self.has, self.hop, channels, seen)
        if self.parallel is not None and self.parallel.hop != self.hop:
            raise LatentpressError(
                f"parallel.network.strides: their product is the latents' hop, {self.hop} samples along the "
                f"axes, got {self.parallel.hop}"
            )
        self.auxiliary = None
        if self.latents is not None and config.auxiliary is not None:
            self.auxiliary = AuxiliaryPrior(config.auxiliary, self.latents.alphas.tolist())

    @property
    def hop(self) -> Shape:
        """See `Model.hop`."""
        return self.config.hop if self.config.latents is not None else (1,) * self.rank

    @property
    def alphabets(self) -> tuple[int, ...]:
        """See `Model.alphabets`; () as long as there is no prior in integer form, and without latents."""
        return self.integer.prior.alphabets if self.integer.prior is not None else ()

    @property
    def decoder_id(self) -> bytes:
        """Hash, 16 bytes, of the decoders that the codes are for; an encoder half knows the whole model's."""
        if self.config.decoder_id is not None:
            return bytes.fromhex(self.config.decoder_id)
        digest = hashlib.blake2b(digest_size=16)
        if self.integer.decoder is not None:
            digest.update(self.integer.decoder.id)
        if self.parallel is not None:
            for name, value in sorted(self.parallel.state_dict().items()):
                digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
        return digest.digest()

    @property
    def codes_id(self) -> bytes:
        """Hash of the decoders, and of the prior, which holds the step between codes."""
        prior = self.integer.ids.get("prior", bytes(16))
        return hashlib.blake2b(self.decoder_id + prior, digest_size=16).digest()

    def takes(self, shape: Shape) -> bool:
        """See `Model.takes`; axes that a latent spans whole have one extent."""
        spanned = slice(len(self.config.encoder.hop), self.rank) if self.latents is not None else slice(0)
        return super().takes(shape) and shape[:-1][spanned] == self.hop[spanned]

    def wanted(self) -> str:
        """See `Model.wanted`."""
        given = len(self.config.encoder.hop) if self.latents is not None else self.rank
        extents = [f"any {axis}s" for axis in self.item.axes[:given]]
        extents += [f"{h} {axis}s" for axis, h in zip(self.item.axes[given:], self.hop[given:], strict=True)]
        return f"{' x '.join(extents)}, {self.item.channels} channels"

    @property
    def encode_reach(self) -> int | None:
        """See `Model.encode_reach`: the encoder reads from an item's end."""
        return None

    # ---- latents

    def posterior(self, symbols: Tensor, mask: Tensor | None = None) -> tuple[Posterior, Tensor | None]:
        """q(z | x) of every sequence of latents, (B * cells, n, d), and its step mask (B * cells, n).

        Args:
            symbols: (B, *S, P) int64, those of the samples themselves.
            mask: (B, *S) bool, false at padding.
        """
        assert self.encoder is not None and self.latents is not None
        raw = self.encoder(symbols, mask).float()
        step_mask = None
        if mask is not None:
            step_mask = mask_sequences(self._step_mask(mask), raw.shape[3:])
        return self.latents.posterior(as_sequences(raw), step_mask), step_mask

    def _step_mask(self, mask: Tensor) -> Tensor:
        """(B, n): steps with any sample that is not padding."""
        rows = mask.flatten(2).any(2) if mask.ndim > 2 else mask
        missing = -rows.shape[1] % self.hop[0]
        if missing:
            rows = torch.cat([rows, rows.new_zeros(len(rows), missing)], dim=1)
        return rows.view(len(rows), -1, self.hop[0]).any(2)

    def infer(
        self, samples: Tensor, *, mask: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Latents:
        """See `Model.infer`; gradients flow through the draw to the encoder."""
        grid = self.grid(samples.shape[1:-1])
        if self.latents is None:
            return Latents(torch.zeros(len(samples), 0, *grid, device=self.device))
        self.require("encoder")
        symbols = symbols_of(self.item, samples, False).to(self.device)
        posterior, step_mask = self.posterior(symbols, None if mask is None else mask.to(self.device))
        if generator is None:
            noise = torch.randn_like(posterior.mean)
        else:
            noise = torch.randn(posterior.mean.shape, generator=generator).to(posterior.mean)
        z = from_sequences(posterior.sample(noise), grid[1:])
        return Latents(z, None, posterior, step_mask)

    def kl_nats(self, latents: Latents) -> Tensor:
        """KL(q || p) of each item, exactly, in nats, (B,)."""
        if self.latents is None or latents.posterior is None:
            return torch.zeros(len(latents), device=self.device)
        nats = self.latents.kl_nats(latents.posterior, latents.step_mask)
        return nats.view(len(latents), -1).sum(1)

    def auxiliary_nats(self, latents: Latents) -> Tensor:
        """-log p_aux(z) of each item's draw under the auxiliary prior, in nats, (B,)."""
        assert self.auxiliary is not None
        nats = self.auxiliary.nats(as_sequences(latents.vectors), latents.step_mask)
        return nats.view(len(latents), -1).sum(1)

    def posterior_nats(self, latents: Latents) -> Tensor:
        """-log q(z | x) of each item's draw, in nats, (B,)."""
        assert latents.posterior is not None
        nats = latents.posterior.nats(as_sequences(latents.vectors), latents.step_mask)
        return nats.view(len(latents), -1).sum(1)

    def committed_nats(self, rows: int) -> float:
        """The smallest KL of an item of so many rows of samples, in nats."""
        if self.latents is None:
            return 0.0
        size = (rows, *(self.config.item.size or (1,) * self.rank)[1:])
        steps, *cells = self.grid(size)
        return self.latents.committed_rate_nats(steps) * math.prod(cells)

    @torch.inference_mode()
    def latent_nats(self, latents: Latents, labels: Tensor | None = None) -> Tensor:
        """See `Model.latent_nats`: E [ln q(z | x) - ln p_aux(z)] by one draw, or KL(q || p)."""
        if self.auxiliary is None or latents.posterior is None:
            return self.kl_nats(latents).double().cpu()
        return (self.auxiliary_nats(latents) - self.posterior_nats(latents)).double().cpu()

    @torch.inference_mode()
    def features(self, latents: Latents) -> Tensor:
        """See `Model.features`: the draws themselves (means tell labels even where draws do not)."""
        return latents.vectors.flatten(1).cpu()

    @torch.inference_mode()
    def details(self, latents: Latents) -> LatentDetails:
        """See `Model.details`."""
        if self.latents is None or latents.posterior is None:
            return LatentDetails()
        count, (steps, *cells) = len(latents), latents.vectors.shape[2:]
        joint = Posterior(
            *(self._by_item(p, count) for p in (latents.posterior.mean, latents.posterior.log_variance))
        )
        z = self._by_item(as_sequences(latents.vectors), count)
        mask = None if latents.step_mask is None else latents.step_mask.unflatten(0, (count, -1))[:, 0]
        auxiliary = None
        if self.auxiliary is not None:
            auxiliary = float((self.auxiliary_nats(latents) - self.posterior_nats(latents)).mean())
        return posterior_details(
            steps=steps,
            channels=z.shape[2],
            committed_nats=self.latents.committed_rate_nats(steps) * math.prod(cells),
            kl_nats=self.kl_nats(latents).double(),
            auxiliary_kl_nats=auxiliary,
            information_nats=float(mutual_information_nats(joint, z, mask)),
            active_units=active_units(joint.mean, mask),
        )

    def _by_item(self, sequences: Tensor, count: int) -> Tensor:
        """(B * cells, n, d) to (B, n, cells * d)."""
        return sequences.unflatten(0, (count, -1)).movedim(1, 2).flatten(2)

    # ---- codes

    def _encode(self, samples: np.ndarray | Tensor, distribution: IntegerPrior | None) -> Tensor:
        """The posterior's means, in the prior's steps."""
        self.require("encoder")
        items = samples if isinstance(samples, Tensor) else torch.from_numpy(samples.astype(np.int64))
        self._check_samples(items)
        grid = self.grid(items.shape[1:-1])
        if self.latents is None:
            return torch.zeros(len(items), *grid, 0, dtype=torch.int64)
        prior = self._prior(distribution)
        run = max(1, _BATCH_POSITIONS // max(1, items[0, ..., 0].numel()))
        codes = []
        for part in items.split(run):
            posterior, _ = self.posterior(symbols_of(self.item, part, False).to(self.device))
            means = from_sequences(posterior.mean, grid[1:]).movedim(1, -1)
            codes.append(prior.quantise(means.cpu()))
        return torch.cat(codes)

    def _prior(self, distribution: IntegerPrior | None) -> IntegerLSTM:
        if not isinstance(distribution, IntegerLSTM):
            raise LatentpressError("the model has no integer form yet: it is made at the end of training")
        return distribution

    def vectors_of(self, codes: Tensor, *, sampled: bool = False) -> Tensor:
        """See `Model.vectors_of`."""
        prior = self._prior(self.integer.prior)
        return (prior.with_step(1) if sampled else prior).dequantise(codes).movedim(-1, 1)

    def _distribution(self, prior: PriorName | None) -> IntegerLSTM | None:
        """By default the auxiliary prior, if there is one; in the finest steps."""
        if self.latents is None and prior is not None:
            raise LatentpressError("the model has no latents: it is a decoder alone, without a prior")
        if self.latents is None:
            return None
        if prior == "ar1":
            return IntegerLSTM.ar1(self.latents.alphas.tolist(), 1)
        return self._prior(self.integer.prior).with_step(1)

    def _fits(self, form: IntegerPrior | IntegerEncoder) -> bool:
        channels = self.latents.channels if self.latents is not None else 0
        if isinstance(form, IntegerEncoder):
            return form.fits(self.encoder, channels)
        return isinstance(form, IntegerLSTM) and form.channels == channels
