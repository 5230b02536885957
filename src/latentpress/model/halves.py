"""A model parted into the two sides between which codes travel: each works alone, and loads as any model.

    items --encoder half--> codes --> archive --> codes --decoder half--> items

The encoder half compresses lossily, and proves the codes of what it wrote; the decoder half restores, samples
new items, and holds no weight of the encoder. Both have the latent space and the prior. Lossless compression
needs the decoder beside the encoder, and so the whole model; its archives the decoder half restores, but
those by bits back, which run the encoder again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from latentpress.config import DeltaVAEConfig, HalfName
from latentpress.errors import LatentpressError, MissingPartError
from latentpress.model.base import Model
from latentpress.model.integer import IntegerForms
from latentpress.nn.blank import blank

__all__ = ["Halves", "split_model"]

_SAYS = {
    "encoder": "It turns items into codes and compresses them lossily. Restoring them takes the decoder "
    "half, and lossless compression the whole model.",
    "decoder": "It restores items from archives, lossless ones too (but those by bits back, which take the "
    "whole model), and samples new ones. Compression takes the encoder half, or the whole model.",
}
_USE = {
    "encoder": ("compress ITEMS -m THIS_FOLDER -o items.lpz", "verify items.lpz -m THIS_FOLDER"),
    "decoder": ("decompress items.lpz -m THIS_FOLDER -o OUT", "generate THIS_FOLDER -o NEW"),
}


@dataclass(frozen=True)
class Halves:
    """The two halves of a model, which share its tensors."""

    encoder: Model
    decoder: Model

    def save_pretrained(self, folder: str | Path, *, card: str = "") -> None:
        """Writes the model folders `encoder` and `decoder` below `folder`.

        Args:
            folder: made if it is not there.
            card: Markdown, the whole model's card, which stands below each half's.
        """
        for name, half in (("encoder", self.encoder), ("decoder", self.decoder)):
            half.save_pretrained(Path(folder) / name, card=_card(name, half.item.words.items, card))


def split_model(model: Model) -> Halves:
    """Parts a model into its encoder half and its decoder half.

    Raises:
        MissingPartError: it is one half already.
        LatentpressError: it has no latents: all of it is a decoder.

    >>> from latentpress.config import ConvConfig, ParallelDecoderConfig, VQVAEConfig
    >>> from latentpress.model import build
    >>> small = ConvConfig(width=32, depths=(0, 1))
    >>> parallel = ParallelDecoderConfig(network=small)
    >>> halves = split_model(build(VQVAEConfig(encoder=small, parallel=parallel, prior=None)))
    >>> sorted({name.split(".")[0] for name in halves.decoder.state_dict()})
    ['latents', 'parallel']
    >>> halves.decoder.codes_id == halves.encoder.codes_id
    True
    """
    if model.half_name is not None:
        raise MissingPartError(model.half_name, "other half to part from", "the whole model")
    if model.config.latents is None:
        raise LatentpressError("the model has no latents, and so no halves: all of it is a decoder")
    return Halves(_half(model, "encoder"), _half(model, "decoder"))


def _half(model: Model, name: HalfName) -> Model:
    config = replace(model.config, half=name)
    if isinstance(config, DeltaVAEConfig) and name == "encoder":
        config = replace(config, decoder_id=model.decoder_id.hex())  # type: ignore[attr-defined]
    with blank():
        half = type(model)(config)
    wanted = half.state_dict().keys()
    weights = {key: value for key, value in model.state_dict().items() if key in wanted}
    half.load_state_dict(weights, assign=True)
    forms = model.integer
    half.integer = (
        IntegerForms(prior=forms.prior, encoder=forms.encoder)
        if name == "encoder"
        else IntegerForms(prior=forms.prior, decoder=forms.decoder)
    )
    return half.eval().requires_grad_(False)


def _card(half: str, items: str, card: str) -> str:
    lines = [
        f"# The {half} half of a Latentpress model for {items}",
        "",
        _SAYS[half],
        "",
        *(f"    latentpress {line}" for line in _USE[half]),
        "",
    ]
    if card:
        lines += ["What follows is the whole model's card.", "", "---", "", card.rstrip(), ""]
    return "\n".join(lines)
