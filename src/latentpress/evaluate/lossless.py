"""How small a model makes items without losing a sample, beside other lossless codecs.

The items are pressed into a real archive, which is decoded and compared; `peers` says what the other
codecs get.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from latentpress.data.sources import Source
from latentpress.errors import ItemError
from latentpress.evaluate.peers import LosslessResult, image_peers, text_peers
from latentpress.model import AnyModel
from latentpress.press import compress, decode_archive, inspect_archive

__all__ = ["LosslessEvaluation", "evaluate_lossless"]

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class LosslessEvaluation:
    """What a model makes of a set of items without losing a sample.

    Attributes:
        num_items: images or texts.
        num_dims: samples of all: pixels times channels, or bytes.
        archive_bytes: the archive file with everything in it.
        codes_bytes: of them, codes.
        pixels_bytes: of them, samples coded by the model given the codes.
        whole_bytes: of them, items stored whole, dearer under the model.
        num_whole: how many those are.
        uses_codes: whether the decoder of pixels looks at codes at all.
        encode_seconds: wall time of pressing, without verification.
        decode_seconds: wall time of restoring.
        others: what other codecs need.
    """

    num_items: int
    num_dims: int
    archive_bytes: int
    codes_bytes: int
    pixels_bytes: int
    whole_bytes: int
    num_whole: int
    uses_codes: bool
    encode_seconds: float
    decode_seconds: float
    others: tuple[LosslessResult, ...]

    @property
    def bits_per_dim(self) -> float:
        """Archive bits a sample."""
        return 8 * self.archive_bytes / self.num_dims

    def to_json(self) -> str:
        """All of it as JSON text, with the bits per dimension beside."""
        tree = {"bits_per_dim": self.bits_per_dim, **asdict(self)}
        for other in tree["others"]:
            other["bits_per_dim"] = 8 * other["size_bytes"] / self.num_dims
        return json.dumps(tree, indent=2)


def evaluate_lossless(
    model: AnyModel, source: Source, *, progress: Progress | None = None
) -> LosslessEvaluation:
    """Presses `source` losslessly into an archive in memory, restores it, compares every sample.

    Args:
        model: a model with an autoregressive decoder, in evaluation mode.
        source: the items.
        progress: told of every step.

    Raises:
        ItemError: an item cannot be read, there is none, or all are empty.
        LatentpressError: the model has no decoder of pixels.
    """
    if not source.items:
        raise ItemError("there is nothing to evaluate on; give a folder, zip archive or file with items")
    report = progress or _silent
    archive = io.BytesIO()
    pressed = compress(model, source, archive, lossless=True, verify=False, progress=report)
    start, decoding = time.perf_counter(), 0.0
    originals = {ref.name: ref for ref in source.items}
    sizes, dims = set(), 0
    for done, (name, pixels) in enumerate(decode_archive(archive.getvalue(), model), start=1):
        decoding += time.perf_counter() - start
        if not np.array_equal(pixels, originals[name].read()):
            raise ItemError(f"{name}: the archive does not give back its samples; please report this")
        sizes.add(pixels.shape)
        dims += pixels.size
        report("restore", done, len(originals))
        start = time.perf_counter()
    if not dims:
        raise ItemError("all of the texts are empty: there is no byte to measure on")
    parts: dict[str, int] = {"codes": 0, "pixels": 0, "whole": 0}
    for use in inspect_archive(archive.getvalue()).modes:
        parts[use.part] += use.bytes
    return LosslessEvaluation(
        num_items=len(originals),
        num_dims=dims,
        archive_bytes=pressed.archive_bytes,
        codes_bytes=parts["codes"],
        pixels_bytes=parts["pixels"],
        whole_bytes=parts["whole"],
        num_whole=pressed.whole,
        uses_codes=model.exact_pixels is not None and model.exact_pixels.upsampler is not None,
        encode_seconds=pressed.seconds,
        decode_seconds=decoding,
        others=tuple(_others(model, source, len(sizes) == 1, report)),
    )


def _others(model: AnyModel, source: Source, one_size: bool, report: Progress) -> list[LosslessResult]:
    if model.config.item.kind == "text":
        return text_peers(source, report)
    return image_peers(source, one_size, report)


def _silent(stage: str, done: int, total: int) -> None:
    """Reports nothing."""
