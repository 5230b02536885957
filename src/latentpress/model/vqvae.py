"""The VQ-VAE: encoder, codebook, decoders and prior, and the way from pixels to codes and back.

    pixels --encoder--> vectors --latents--> codes        `VQVAE.encode`
    pixels <--decoder-- vectors <--latents-- codes        `VQVAE.decode`

The prior is an autoregressive network over the codes (`latentpress.autoregressive`); its exact form is what
archives are coded with. Where the model can press losslessly it has a second, autoregressive decoder,
`pixels`: the distribution of the pixels given the codes, and that one's exact form.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from latentpress.autoregressive import CausalNetwork, IntegerNetwork
from latentpress.autoregressive.decoder import GridDecoder, IntegerDecoder
from latentpress.config import HalfName, VQVAEConfig
from latentpress.errors import CheckpointError
from latentpress.latents import Codebook
from latentpress.model.base import Parts
from latentpress.model.device import resolve_device
from latentpress.nn import ConvDecoder, ConvEncoder, Likelihood, build_likelihood, pad_to_hop, tiled

__all__ = ["VQVAE", "to_pixels", "to_signal"]

_TILE_PIXELS = 512  # side of a tile at inference, before its margins
_BATCH_PIXELS = 1 << 19  # pixels that go through the networks at once


def to_signal(pixels: Tensor) -> Tensor:
    """Maps 8-bit pixels 0..255 to the networks' scale -1..1.

    >>> to_signal(torch.tensor([0, 255], dtype=torch.uint8))
    tensor([-1.,  1.])
    """
    return pixels.to(torch.float32).div_(127.5).sub_(1.0)


def to_pixels(signal: Tensor) -> Tensor:
    """Rounds values on the networks' scale to 8-bit pixels; the inverse of `to_signal`.

    >>> to_pixels(torch.tensor([-1.1, 0.0, 1.0]))
    tensor([  0, 128, 255], dtype=torch.uint8)
    """
    return signal.float().add(1.0).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


class VQVAE(Parts):
    """Encoder + latent space + decoder + prior over images, and an autoregressive decoder of pixels.

    Arguments:
        config: what the parts are, and whether only one half of them is there.

    Attributes:
        encoder: (B, C, H, W) -> (B, P * D, H / hop, W / hop).
        latents: the vectors' latent space, with P codes a position.
        decoder: (B, P * D, rows, columns) -> (B, C * parameters, rows * hop, columns * hop).
        likelihood: p(x | z) from the decoder's output.
        prior: float autoregressive network over the codes, or None.
        exact_prior: its integer form, made after training, or None.
        pixels: float autoregressive decoder, p(pixels | codes), or None.
        exact_pixels: its integer form, made after training, or None.

    >>> import numpy as np
    >>> from latentpress.config import ConvConfig, VQVAEConfig
    >>> small = ConvConfig(width=32, depths=(0, 1))
    >>> model = VQVAE(VQVAEConfig(encoder=small, decoder=small, prior=None)).eval()
    >>> codes = model.encode(np.zeros((1, 10, 13, 3), np.uint8))
    >>> codes.shape
    torch.Size([1, 3, 4, 1])
    >>> model.decode(codes, size=(10, 13)).shape
    (1, 10, 13, 3)
    """

    sides: ClassVar[Mapping[str, HalfName]] = {
        "encoder": "encoder",
        "decoder": "decoder",
        "likelihood": "decoder",
        "pixels": "decoder",
    }
    encoder: ConvEncoder
    decoder: ConvDecoder
    likelihood: Likelihood
    pixels: GridDecoder | None

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        latents = config.latents
        vectors = latents.num_codebooks * latents.code_dim
        channels = config.item.channels
        self.config = config
        if self.has("encoder"):
            self.encoder = ConvEncoder(config.encoder, spatial=2, channels=channels, out_channels=vectors)
        self.latents = Codebook(latents)
        if self.has("decoder"):
            self.likelihood = build_likelihood(config.likelihood, channels)
            self.decoder = ConvDecoder(
                config.decoder,
                spatial=2,
                in_channels=vectors,
                out_channels=channels * self.likelihood.params_per_sample,
            )
        self.prior: CausalNetwork | None = None
        if config.prior is not None:
            self.prior = CausalNetwork(
                config.prior,
                sizes=(latents.codebook_size,) * latents.num_codebooks,
                dims=2,
                num_classes=len(config.labels) if config.prior.class_conditional else 0,
            )
        self.exact_prior: IntegerNetwork | None = None
        self.pixels = None
        if config.pixels is not None and self.has("pixels"):
            self.pixels = GridDecoder(
                config.pixels,
                sizes=(256,) * channels,
                codes=(latents.codebook_size,) * latents.num_codebooks,
                hop=(config.encoder.hop_length,) * 2,
            )
        self.exact_pixels: IntegerDecoder | None = None

    @classmethod
    def from_pretrained(cls, folder: str | Path, device: str | torch.device = "auto") -> VQVAE:
        """Loads a model folder; raises `CheckpointError` where it is incomplete or damaged."""
        from latentpress.checkpoint import load_model

        model = load_model(Path(folder), resolve_device(device))
        if not isinstance(model, VQVAE):
            raise CheckpointError(f"{folder} holds a model of another kind: see `latentpress.model.load`")
        return model

    def save_pretrained(self, folder: str | Path, *, card: str = "") -> None:
        """Writes the model folder; `card` is the model card's Markdown."""
        from latentpress.checkpoint import save_model

        save_model(self, Path(folder), card=card)

    def exact_forms(self) -> dict[str, IntegerNetwork | IntegerDecoder]:
        """The integer forms that there are, by the names of the attributes."""
        forms = {"exact_prior": self.exact_prior, "exact_pixels": self.exact_pixels}
        return {name: form for name, form in forms.items() if form is not None}

    def restore_exact(self, parts: Mapping[str, Mapping[str, Tensor]], device: torch.device) -> None:
        """Takes the tensors of `exact_forms`; raises `CheckpointError` where they do not fit the model."""
        for name, tensors in parts.items():
            if name == "exact_prior" and self.prior is not None:
                self.exact_prior = IntegerNetwork.from_tensors(tensors, device)
                fits = self.exact_prior.structure == self.prior.structure
            elif name == "exact_pixels" and self.pixels is not None:
                self.exact_pixels = IntegerDecoder.from_tensors(tensors, device)
                fits = self.exact_pixels.fits(self.pixels)
            else:
                fits = False
            if not fits:
                raise CheckpointError(f"the {name.replace('_', ' ')} does not fit the configuration")

    @property
    def device(self) -> torch.device:
        """Where the networks' weights are."""
        return next(self.parameters()).device

    @property
    def hop_length(self) -> int:
        """Pixels a side per latent position."""
        return self.config.encoder.hop_length

    @property
    def sizes(self) -> tuple[int, ...]:
        """The alphabets of a latent position's codes."""
        return (self.config.latents.codebook_size,) * self.config.latents.num_codebooks

    @property
    def hop(self) -> tuple[int, int]:
        """Pixels that a latent position spans along each axis."""
        return self.hop_length, self.hop_length

    @property
    def differences(self) -> bool:
        """Whether the decoder of pixels sees their differences instead of themselves."""
        return self.config.pixels is not None and self.config.pixels.differences

    @property
    def draws(self) -> bool:
        """Codes alone decode without random numbers."""
        return False

    @property
    def num_classes(self) -> int:
        """Classes that the prior tells apart, 0 for none."""
        prior = self.config.prior
        return len(self.config.labels) if prior is not None and prior.class_conditional else 0

    @property
    def prior_id(self) -> bytes:
        """Hash of the exact prior's integers, 16 bytes; zeros where there is none."""
        return self.exact_prior.id if self.exact_prior is not None else bytes(16)

    @property
    def pixels_id(self) -> bytes:
        """Hash of the integers that lossless decoding needs beside the prior's, 16 bytes; zeros without."""
        return self.exact_pixels.id if self.exact_pixels is not None else bytes(16)

    @property
    def codebook_id(self) -> bytes:
        """Hash of the latent space's memory, 16 bytes: what gives codes their meaning."""
        memory = self.latents.memory.vectors.detach().to("cpu", torch.float32).contiguous()
        digest = hashlib.blake2b(repr(tuple(memory.shape)).encode(), digest_size=16)
        digest.update(memory.numpy().astype("<f4").tobytes())
        return digest.digest()

    @torch.inference_mode()
    def encode(self, pixels: np.ndarray | Tensor) -> Tensor:
        """Encodes images into codes.

        Arguments:
            pixels: (B, H, W, C), uint8. Edges are replicated up to a multiple of the hop length.

        Returns:
            (B, ceil(H / hop), ceil(W / hop), P), int64, on the CPU. Images of any size take bounded
            memory: large ones go through in tiles that overlap by the receptive field.
        """
        images = torch.as_tensor(pixels)
        channels = self.config.item.channels
        if images.ndim != 4 or images.dtype != torch.uint8 or images.shape[-1] != channels:
            raise ValueError(f"encode takes uint8 (B, H, W, {channels}), got {tuple(images.shape)}")
        grid = self._grid(images.shape[1:3])
        codes = torch.empty(images.shape[0], *grid, self.config.latents.num_codebooks, dtype=torch.int64)

        def to_codes(piece: Tensor) -> Tensor:
            signal = to_signal(piece.to(self.device).permute(0, 3, 1, 2))
            return self.latents.encode(self.encoder(pad_to_hop(signal, self.hop_length))).cpu()

        self._fill(codes, to_codes, images, grid, margin=self.encoder.margin, hop_in=self.hop_length)
        return codes

    @torch.inference_mode()
    def decode(self, codes: np.ndarray | Tensor, size: tuple[int, int]) -> np.ndarray:
        """Decodes codes into images.

        Arguments:
            codes: (B, ceil(height / hop), ceil(width / hop), P), integers below the codebook size.
            size: (height, width) of the images.

        Returns:
            (B, height, width, C), uint8.
        """
        symbols = torch.as_tensor(codes).to(torch.int64)
        latents, grid = self.config.latents, self._grid(size)
        if symbols.ndim != 4 or tuple(symbols.shape[1:]) != (*grid, latents.num_codebooks):
            raise ValueError(
                f"codes of shape {tuple(symbols.shape)} do not fit an image of {size[0]} x {size[1]}"
            )
        if symbols.numel() and not 0 <= int(symbols.min()) <= int(symbols.max()) < latents.codebook_size:
            raise ValueError(f"codes must lie in 0..{latents.codebook_size - 1}")
        pixels = np.empty((symbols.shape[0], *size, self.config.item.channels), np.uint8)

        def to_image(piece: Tensor) -> np.ndarray:
            parameters = self.decoder(self.latents.decode(piece.to(self.device)))
            return to_pixels(self.likelihood.mean(parameters)).permute(0, 2, 3, 1).cpu().numpy()

        self._fill(pixels, to_image, symbols, grid, margin=self.decoder.margin, hop_out=self.hop_length)
        return pixels

    def _grid(self, size: Sequence[int]) -> tuple[int, int]:
        height, width = size
        return -(-height // self.hop_length), -(-width // self.hop_length)

    def _fill(
        self, out: Any, function: Callable[[Tensor], Any], x: Tensor, grid: Sequence[int], **tiling: int
    ) -> None:
        """Fills `out` with `function(x)`, as many items at once as their tiles fit the networks."""
        tile = max(1, _TILE_PIXELS // self.hop_length)
        rows, columns = (min(side, tile) * self.hop_length for side in grid)
        run = max(1, _BATCH_PIXELS // max(1, rows * columns))
        for start in range(0, len(x), run):
            part = slice(start, start + run)
            tiled(function, x[part], out[part], grid=grid, tile=tile, **tiling)
