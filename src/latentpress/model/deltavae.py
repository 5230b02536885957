"""The delta-VAE: an anti-causal encoder, Gaussian latents with a committed rate, an autoregressive decoder.

    samples --encoder--> q(z | x) --latents--> z --decoder--> p(x | z)       KL(q || p) >= delta

An item is an array of symbols (*size, C): pixels of an image, bytes of a text. Its latents are a sequence
along the first axis, `channels` numbers for every `stride` places. Beside the prior p(z) stands an
auxiliary one, which learns how the latents are really distributed and changes nothing else. After
training all of it has an exact form: `exact_decoder` and `exact_prior` press items losslessly, and with
`exact_encoder` both sides know the posterior.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from latentpress.autoregressive.anticausal import AnticausalEncoder, RecurrentEncoder
from latentpress.autoregressive.decoder import IntegerDecoder
from latentpress.autoregressive.integer.encoder import IntegerEncoder
from latentpress.autoregressive.sampling import sample
from latentpress.autoregressive.sequence import SequenceDecoder
from latentpress.coding.gaussians import LATENT_UNIT
from latentpress.config import AnticausalConfig, DeltaVAEConfig, HalfName, ImageConfig
from latentpress.errors import CheckpointError, ConfigError, LatentpressError
from latentpress.latents import GaussianLatents, Posterior, build_gaussian
from latentpress.latents.auxiliary import AuxiliaryPrior
from latentpress.latents.integer_lstm import IntegerLSTM
from latentpress.model.base import Parts
from latentpress.model.device import resolve_device

__all__ = ["DeltaVAE", "Elbo"]

_BATCH_POSITIONS = 1 << 18  # that go through the encoder at once


@dataclass(frozen=True)
class Elbo:
    """What the model says of some items.

    Attributes:
        nll_nats: -log p(x | z) of each item, (B,).
        kl_nats: KL(q || p) of each item, (B,); 0 where the model has no latents.
        posterior: q(z | x), or None.
        z: the latents drawn from it, (B, n, d), or None.
        step_mask: (B, n), which steps are not padding, or None where all are.
    """

    nll_nats: Tensor
    kl_nats: Tensor
    posterior: Posterior | None = None
    z: Tensor | None = None
    step_mask: Tensor | None = None


class DeltaVAE(Parts):
    """Encoder + Gaussian latents + autoregressive decoder, and an auxiliary prior beside them.

    Arguments:
        config: what the parts are, and whether only one half of them is there. Without latents there are
            only the decoder and p(x).

    Attributes:
        encoder: symbols (B, *size, C) -> (B, n, numbers a step), or None.
        latents: the families of posterior and prior, or None.
        decoder: p(x | z).
        auxiliary: the auxiliary prior, or None.
        exact_decoder: the decoder in integers, made after training, or None.
        exact_prior: the auxiliary prior (or AR(1) where there is none) in integers, or None.
        exact_encoder: the encoder in integers, if it is anti-causal, or None; what bits back needs.

    >>> from latentpress.config import SequenceDecoderConfig
    >>> config = DeltaVAEConfig(decoder=SequenceDecoderConfig(width=8, depth=1))
    >>> model = DeltaVAE(config)
    >>> elbo = model.elbo(torch.zeros(3, 40, 1, dtype=torch.int64))
    >>> elbo.z.shape, bool((elbo.kl_nats >= model.latents.committed_rate_nats(40) - 1e-4).all())
    (torch.Size([3, 40, 1]), True)
    """

    sides: ClassVar[Mapping[str, HalfName]] = {
        "encoder": "encoder",
        "decoder": "decoder",
    }
    encoder: AnticausalEncoder | RecurrentEncoder | None
    decoder: SequenceDecoder

    def __init__(self, config: DeltaVAEConfig) -> None:
        super().__init__()
        self.config = config
        item = config.item
        if isinstance(item, ImageConfig) and item.size is None:
            raise ConfigError(
                "model.item.size: a delta-VAE of images knows one size; give it as [height, width]"
            )
        self._across = item.size[1] if isinstance(item, ImageConfig) and item.size else 1
        self._dims = 2 if isinstance(item, ImageConfig) else 1
        self.latents: GaussianLatents | None = None
        self.auxiliary: AuxiliaryPrior | None = None
        channels = config.latents.channels if config.latents is not None else 0
        if config.latents is not None:
            self.latents = build_gaussian(config.latents)
        if self.has("encoder"):
            self.encoder = None
            if self.latents is not None:
                self.encoder = self._build_encoder(self.latents.params * channels, channels)
        if self.has("decoder"):
            sizes, ordered = (256,) * item.channels, self._dims > 1
            self.decoder = SequenceDecoder(
                config.decoder, sizes, channels, self.hop, LATENT_UNIT, ordered=ordered
            )
        if config.latents is not None and config.auxiliary is not None:
            self.auxiliary = AuxiliaryPrior(config.auxiliary, config.latents.alphas)
        self.exact_decoder: IntegerDecoder | None = None
        self.exact_prior: IntegerLSTM | None = None
        self.exact_encoder: IntegerEncoder | None = None

    def _build_encoder(self, outputs: int, means: int) -> AnticausalEncoder | RecurrentEncoder:
        config, sizes = self.config.encoder, (256,) * self.config.item.channels
        if isinstance(config, AnticausalConfig):
            return AnticausalEncoder(config, sizes, self._across, self._dims, outputs, means)
        return RecurrentEncoder(config, sizes, self._across, self._dims, outputs, means)

    @classmethod
    def from_pretrained(cls, folder: str | Path, device: str | torch.device = "auto") -> DeltaVAE:
        """Loads a model folder; raises `CheckpointError` where it is incomplete or damaged."""
        from latentpress.checkpoint import load_model

        model = load_model(Path(folder), resolve_device(device))
        if not isinstance(model, DeltaVAE):
            raise CheckpointError(f"{folder} holds a model of another kind: see `latentpress.model.load`")
        return model

    def save_pretrained(self, folder: str | Path, *, card: str = "") -> None:
        """Writes the model folder; `card` is the model card's Markdown."""
        from latentpress.checkpoint import save_model

        save_model(self, Path(folder), card=card)

    def exact_forms(self) -> dict[str, IntegerLSTM | IntegerDecoder | IntegerEncoder]:
        """The integer forms that there are, by the names of the attributes."""
        forms = {
            "exact_prior": self.exact_prior,
            "exact_decoder": self.exact_decoder,
            "exact_encoder": self.exact_encoder,
        }
        return {name: form for name, form in forms.items() if form is not None}

    def restore_exact(self, parts: Mapping[str, Mapping[str, Tensor]], device: torch.device) -> None:
        """Takes the tensors of `exact_forms`; raises `CheckpointError` where they do not fit the model."""
        for name, tensors in parts.items():
            if name == "exact_prior" and self.latents is not None:
                self.exact_prior = IntegerLSTM.from_tensors(tensors)
                fits = self.exact_prior.channels == self.latents.channels
            elif name == "exact_decoder" and self.has("decoder"):
                self.exact_decoder = IntegerDecoder.from_tensors(tensors, device)
                fits = self.exact_decoder.fits(self.decoder)
            elif name == "exact_encoder" and self.latents is not None and self.has("encoder"):
                self.exact_encoder = IntegerEncoder.from_tensors(tensors, device)
                fits = self.exact_encoder.fits(self.encoder, self.latents.channels)
            else:
                fits = False
            if not fits:
                raise CheckpointError(f"the {name.replace('_', ' ')} does not fit the configuration")

    @property
    def device(self) -> torch.device:
        """Where the networks' weights are."""
        return next(self.parameters()).device

    @property
    def hop(self) -> tuple[int, ...]:
        """Samples that a step spans along each axis: all columns of an image's rows, a text's bytes."""
        stride = self.config.encoder.stride
        return (stride, self._across) if self._dims == 2 else (stride,)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The alphabets of a step's codes, () before there is an exact prior and without latents."""
        return self.exact_prior.sizes if self.exact_prior is not None else ()

    @property
    def unit(self) -> float:
        """The real value of one step of an exact latent."""
        return LATENT_UNIT

    @property
    def differences(self) -> bool:
        """Symbols are the samples themselves."""
        return False

    @property
    def draws(self) -> bool:
        """Latents say what there is, and the decoder draws the rest."""
        return True

    @property
    def num_classes(self) -> int:
        """The prior tells no classes apart."""
        return 0

    @property
    def prior_id(self) -> bytes:
        """Hash of the exact prior's integers, 16 bytes; zeros where there is none."""
        return self.exact_prior.id if self.exact_prior is not None else bytes(16)

    @property
    def pixels_id(self) -> bytes:
        """Hash of the exact decoder's integers, 16 bytes; zeros where there is none."""
        return self.exact_decoder.id if self.exact_decoder is not None else bytes(16)

    @property
    def encoder_id(self) -> bytes:
        """Hash of the exact encoder's integers, 16 bytes; zeros where there is none."""
        return self.exact_encoder.id if self.exact_encoder is not None else bytes(16)

    @property
    def codebook_id(self) -> bytes:
        """What gives codes their meaning, 16 bytes: the decoder and the step between codes.

        An encoder half has the whole model's.
        """
        known = self.config.decoder_id
        decoder = self.pixels_id if known is None else bytes.fromhex(known)
        digest = hashlib.blake2b(decoder + self.prior_id, digest_size=16)
        return digest.digest()

    @property
    def exact_pixels(self) -> IntegerDecoder | None:
        """The exact decoder of the codes that archives hold, which are coarser than its own."""
        if self.exact_decoder is None or self.exact_prior is None:
            return self.exact_decoder
        return self.exact_decoder.coarsened(self.exact_prior.step)

    def committed_rates(self, step_mask: Tensor) -> Tensor:
        """The committed rate of each item in nats, (B,), from (B, n), which steps are not padding."""
        assert self.latents is not None
        counts = step_mask.sum(1).tolist()
        return torch.tensor([self.latents.committed_rate_nats(int(n)) for n in counts])

    def posterior(self, symbols: Tensor, mask: Tensor | None = None) -> tuple[Posterior, Tensor | None]:
        """q(z | x) of symbols (B, *size, C) int64, and which steps are not padding, (B, n)."""
        assert self.encoder is not None and self.latents is not None
        step_mask = None if mask is None else self._step_mask(mask)
        raw = self.encoder(symbols, mask).float()
        return self.latents.posterior(raw, step_mask), step_mask

    def elbo(self, symbols: Tensor, mask: Tensor | None = None, noise: Tensor | None = None) -> Elbo:
        """-log p(x | z) and KL(q || p) of each item, z being one draw from q.

        Arguments:
            symbols: (B, *size, C) int64.
            mask: (B, *size) bool, false at padding.
            noise: (B, n, d) for the draw; by default from torch's global generator.
        """
        if self.latents is None:
            nll = self.decoder.nll_nats(symbols, None, mask)
            return Elbo(nll, torch.zeros_like(nll))
        posterior, step_mask = self.posterior(symbols, mask)
        noise = torch.randn_like(posterior.mean) if noise is None else noise
        z = posterior.sample(noise)
        nll = self.decoder.nll_nats(symbols, z, mask)
        return Elbo(nll, self.latents.kl_nats(posterior, step_mask), posterior, z, step_mask)

    def _step_mask(self, mask: Tensor) -> Tensor:
        rows = mask.flatten(2).any(2) if mask.ndim > 2 else mask
        missing = -rows.shape[1] % self.hop[0]
        if missing:
            rows = torch.cat([rows, rows.new_zeros(len(rows), missing)], dim=1)
        return rows.view(len(rows), -1, self.hop[0]).any(2)

    @torch.inference_mode()
    def encode(self, samples: np.ndarray | Tensor) -> Tensor:
        """Encodes items into codes: the posterior's means, rounded.

        Arguments:
            samples: (B, *size, C), uint8.

        Returns:
            (B, n, d) for texts and (B, n, 1, d) for images, int64, on the CPU.
        """
        items = torch.as_tensor(samples)
        self._check(items)
        if self.exact_prior is None:
            raise ConfigError("the model has no exact form yet: it is made at the end of training")
        run = max(1, _BATCH_POSITIONS // max(1, items[0, ..., 0].numel()))
        codes = []
        for start in range(0, len(items), run):
            posterior, _ = self.posterior(items[start : start + run].to(self.device, torch.int64))
            codes.append(self.exact_prior.quantise(posterior.mean.cpu()))
        return self.on_grid(torch.cat(codes))

    def draw(
        self,
        codes: np.ndarray | Tensor,
        size: Sequence[int],
        *,
        seed: int = 0,
        numbers: Sequence[int] | None = None,
        temperature: float = 1.0,
        exact: IntegerDecoder | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """Draws items from p(x | z), the same ones on every machine.

        Arguments:
            codes: (B, *grid, d), as `encode` gives them.
            size: of the items: (height, width), or (bytes,).
            seed: of the draws.
            numbers: which items of the seed these are; by default 0, 1, ...
            temperature: divides the logits.
            exact: of the decoder's codes; by default `exact_pixels`, that of archives.
            progress: called on the way with how many symbols were drawn since the last call.

        Returns:
            (B, *size, C), uint8.
        """
        _ = self.decoder  # which half a model may lack
        exact = exact or self.exact_pixels
        if exact is None:
            raise LatentpressError("the model has no exact form yet: it is made at the end of training")
        context = exact.context(torch.as_tensor(codes).long(), size)
        drawn = sample(
            exact.network,
            len(codes),
            tuple(size),
            context,
            seed=seed,
            temperature=temperature,
            numbers=numbers,
            progress=progress,
        )
        return drawn.numpy().astype(np.uint8)

    def on_grid(self, codes: Tensor) -> Tensor:
        """Codes (B, n, d) with the axes of the items: those of an image have one column."""
        return codes[:, :, None] if self._dims == 2 else codes

    def _check(self, items: Tensor) -> None:
        channels, item = self.config.item.channels, self.config.item
        fits = items.ndim == self._dims + 2 and items.dtype == torch.uint8 and items.shape[-1] == channels
        if fits and isinstance(item, ImageConfig):
            fits = tuple(items.shape[1:3]) == item.size
        if not fits:
            wanted = (
                f"(B, {item.size[0]}, {item.size[1]}"
                if isinstance(item, ImageConfig) and item.size
                else "(B, T"
            )
            raise ValueError(f"the model takes uint8 {wanted}, {channels}), got {tuple(items.shape)}")
