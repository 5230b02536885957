"""Other lossless codecs, and what they need for the same items."""

from __future__ import annotations

import io
import lzma
import math
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Literal

import numpy as np
from PIL import Image, features

from latentpress.data.sources import Source
from latentpress.evaluate.codecs import MOSAIC_MAX_SIDE, mosaic

__all__ = ["LosslessResult", "image_peers", "text_peers"]

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class LosslessResult:
    """What another codec needs: for `files` of their own, one `mosaic` of images or one `tar` of texts."""

    codec: str
    layout: Literal["files", "mosaic", "tar"]
    size_bytes: int


def image_peers(source: Source, one_size: bool, report: Progress) -> list[LosslessResult]:
    """What PNG, WebP and JPEG XL (where it is installed) need for images.

    Each image is a file of its own; where all have `one_size` they are one mosaic too (`codecs.mosaic`),
    which spares the codecs the headers and lets them see as much at once as they can use.
    """
    codecs = [name for name in _IMAGE_CODECS if _available(name)]
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


_IMAGE_CODECS: dict[str, Sequence[dict[str, object]]] = {
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
    for options in _IMAGE_CODECS[name]:
        file = io.BytesIO()
        image.save(file, name.upper(), **options)
        sizes.append(len(file.getvalue()))
    return min(sizes)


def text_peers(source: Source, report: Progress) -> list[LosslessResult]:
    """What xz, zstd and brotli (these where they are installed) need for texts, at their strongest.

    Each text is a file of its own, and all of them one tar archive.
    """
    codecs, buffer = _text_codecs(), io.BytesIO()
    totals = dict.fromkeys(codecs, 0)
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for done, ref in enumerate(source.items, start=1):
            data = ref.read().tobytes()
            about = tarfile.TarInfo(ref.name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
            for name, pack in codecs.items():
                totals[name] += len(pack(data))
            report("compare", done, len(source.items))
    results = [LosslessResult(name, "files", size) for name, size in totals.items()]
    tar = buffer.getvalue()
    return results + [LosslessResult(name, "tar", len(pack(tar))) for name, pack in codecs.items()]


def _text_codecs() -> dict[str, Callable[[bytes], bytes]]:
    codecs: dict[str, Callable[[bytes], bytes]] = {
        "xz -9e": lambda data: lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)
    }
    if find_spec("zstandard") is not None:
        codecs["zstd -19"] = import_module("zstandard").ZstdCompressor(level=19).compress
    if find_spec("brotli") is not None:
        brotli = import_module("brotli")
        codecs["brotli 11"] = lambda data: brotli.compress(data, quality=11, lgwin=24)
    return codecs
