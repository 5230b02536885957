"""How small a model makes images without losing a pixel, beside other lossless codecs.

The images are pressed into a real archive, which is decoded and compared; the other codecs get every
image as a file of its own and, where all have one size, all of them as one mosaic (`codecs.mosaic`),
which spares them the headers and lets them see as much at once as they can use.
"""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Literal

import numpy as np
from PIL import Image, features

from latentpress.data.sources import Source
from latentpress.errors import ItemError
from latentpress.evaluate.codecs import MOSAIC_MAX_SIDE, mosaic
from latentpress.model import LatentModel
from latentpress.press import compress, decode_archive, inspect_archive

__all__ = ["LosslessEvaluation", "LosslessResult", "evaluate_lossless"]

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class LosslessResult:
    """What another codec needs for the images, as `files` of their own or as one `mosaic`."""

    codec: str
    layout: Literal["files", "mosaic"]
    size_bytes: int


@dataclass(frozen=True)
class LosslessEvaluation:
    """What a model makes of a set of images without losing a pixel.

    Attributes:
        num_items: images.
        num_dims: samples of all images: pixels times channels.
        archive_bytes: the archive file with everything in it.
        codes_bytes: of them, codes.
        pixels_bytes: of them, pixels coded by the model given the codes.
        whole_bytes: of them, images stored whole, dearer under the model.
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
    model: LatentModel, source: Source, *, progress: Progress | None = None
) -> LosslessEvaluation:
    """Presses `source` losslessly into an archive in memory, restores it, compares every pixel.

    Args:
        model: a model with a decoder of pixels, in evaluation mode.
        source: the images.
        progress: told of every step.

    Raises:
        ItemError: an image cannot be read, or there is none.
        LatentpressError: the model has no decoder of pixels.
    """
    if not source.items:
        raise ItemError("there is no image to evaluate on; give a folder, zip archive or file with images")
    report = progress or _silent
    archive = io.BytesIO()
    pressed = compress(model, source, archive, lossless=True, verify=False, progress=report)
    start, decoding = time.perf_counter(), 0.0
    originals = {ref.name: ref for ref in source.items}
    sizes, dims = set(), 0
    for done, (name, pixels) in enumerate(decode_archive(archive.getvalue(), model), start=1):
        decoding += time.perf_counter() - start
        if not np.array_equal(pixels, originals[name].read()):
            raise ItemError(f"{name}: the archive does not give back its pixels; please report this")
        sizes.add(pixels.shape)
        dims += pixels.size
        report("restore", done, len(originals))
        start = time.perf_counter()
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
        uses_codes=model.config.pixels is None or model.config.pixels.use_codes,
        encode_seconds=pressed.seconds,
        decode_seconds=decoding,
        others=tuple(_others(source, len(sizes) == 1, report)),
    )


def _others(source: Source, one_size: bool, report: Progress) -> list[LosslessResult]:
    codecs = [name for name in _CODECS if _available(name)]
    totals = dict.fromkeys(codecs, 0)
    for done, ref in enumerate(source.items, start=1):
        pixels = ref.read()
        for name in codecs:
            totals[name] += _size(name, pixels)
        report("compare", done, len(source.items))
    results = [LosslessResult(name, "files", size) for name, size in totals.items()]
    if one_size and len(source.items) > 1:
        side = math.ceil(math.sqrt(len(source.items))) * max(source.items[0].read().shape[:2])
        if side <= MOSAIC_MAX_SIDE:
            picture = mosaic(np.stack([ref.read() for ref in source.items]))
            results += [LosslessResult(name, "mosaic", _size(name, picture)) for name in codecs]
    return results


_CODECS: dict[str, Sequence[dict[str, object]]] = {
    "png": [{"optimize": True}],
    "webp": [{"lossless": True, "exact": True, "method": method} for method in (4, 6)],
    "jxl": [{"lossless": True, "effort": 9}],
}
_JXL_PLUGIN = "pillow_jxl"


def _available(name: str) -> bool:
    if name == "jxl":
        return find_spec(_JXL_PLUGIN) is not None
    return name == "png" or bool(features.check(name))


def _size(name: str, pixels: np.ndarray) -> int:
    """Bytes of an image as a file, at the settings that make it smallest."""
    if name == "jxl":
        import_module(_JXL_PLUGIN)  # registers its format with Pillow
    image, sizes = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels), []
    for options in _CODECS[name]:
        file = io.BytesIO()
        image.save(file, name.upper(), **options)
        sizes.append(len(file.getvalue()))
    return min(sizes)


def _silent(stage: str, done: int, total: int) -> None:
    """Reports nothing."""
