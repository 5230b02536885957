"""Codecs to compare texts with, alone and primed with training texts.

A *primed* codec knows training texts before it codes the first byte of a text, as a trained model does. Its
decoder has them too, so that nothing of them is counted, and a file says what comes after them alone:

- zstd with a dictionary that it makes of the training texts, a tenth of their size and at most 1 MiB;
- zstd with all of them as a dictionary of raw content, in which it finds matches as in the text itself;
- PPMd (variant H, order 16), whose model codes the training texts first. What the range coder has put out
  until then is no part of the file, as a decoder makes it anew of the training texts. What it still holds
  is, which is some bytes more than the text costs.
"""

from __future__ import annotations

import lzma
from collections.abc import Callable, Iterable
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from latentpress.items.base import Baseline, Content

__all__ = ["DICTIONARY_BYTES", "PPMD_MEMORY", "PPMD_ORDER", "WINDOW_LOG", "lossless_texts", "primed_texts"]
__all__ += ["primer", "zstd_dictionary"]

DICTIONARY_BYTES = 1 << 20  # of a dictionary that zstd makes, at most
WINDOW_LOG = 27  # of zstd with training texts as they are: those and the text lie in one window
PPMD_ORDER = (
    16  # better than 6 on Python's PEPs: 1.47 instead of 1.60 bits a byte primed, 2.22 instead of 2.24
)
PPMD_MEMORY = 1 << 30  # of PPMd's model, which forgets all where it needs more
_PRIMER_BYTES = 1 << 24  # of training texts that a codec is primed with, at most,
_PRIMING_BYTES = 1 << 30  # and those that PPMd codes again for each of all texts, in all
_LENGTH_BYTES = 6  # of a text's length, which PPMd does not code
_SAMPLE_BYTES = 1 << 12  # of the pieces that zstd makes a dictionary of
_TENTH = 10

Pack = Callable[[bytes], bytes]


def lossless_texts() -> tuple[Baseline, ...]:
    """xz, and zstd, brotli and PPMd where they are installed, at their strongest."""
    packers: dict[str, Pack] = {"xz -9e": partial(lzma.compress, preset=9 | lzma.PRESET_EXTREME)}
    if find_spec("zstandard") is not None:
        packers["zstd -19"] = _zstd().ZstdCompressor(level=19).compress
    if find_spec("brotli") is not None:
        packers["brotli 11"] = partial(import_module("brotli").compress, quality=11, lgwin=24)
    if find_spec("pyppmd") is not None:
        packers[f"ppmd o{PPMD_ORDER}"] = partial(_pack_ppmd, b"")
    return tuple(_baseline(name, pack) for name, pack in packers.items())


def primed_texts(training: Callable[[], Iterable[Content]], count: int) -> tuple[Baseline, ...]:
    """PPMd, and zstd in two ways, where they are installed, primed with training texts (see the module).

    Args:
        training: gives the texts, one after another, each time it is called. Of more than 16 MiB in all
            some are taken, evenly.
        count: of the texts to come. For each PPMd codes the training texts again, 1 GiB in all at most: for
            more than 64 texts it has fewer of the training texts.

    Returns:
        Baselines that are made ready when they pack their first text; none where all training texts are
        empty.
    """
    baselines: list[Baseline] = []
    known = primer(training, _PRIMER_BYTES)
    if known and find_spec("zstandard") is not None:
        for name, start in (("dictionary", _start_dictionary), ("primed", _start_raw)):
            baselines.append(_primed(f"zstd -19 {name}", known, start))
    if known and find_spec("pyppmd") is not None:
        most = _PRIMING_BYTES // max(1, count)
        known = primer(training, most) if most < len(known) else known
        baselines.append(
            _primed(f"ppmd o{PPMD_ORDER} primed", known, lambda known: partial(_pack_ppmd, known))
        )
    return tuple(baselines)


def primer(training: Callable[[], Iterable[Content]], most: int) -> bytes:
    """Training texts one after another; of more than `most` bytes the last of some texts, evenly chosen.

    >>> import numpy as np
    >>> texts = [Content.of(np.frombuffer(text, np.uint8)[:, None]) for text in (b"ab", b"c", b"de", b"f")]
    >>> primer(lambda: texts, 6), primer(lambda: texts, 3), primer(lambda: texts, 1)
    (b'abcdef', b'bde', b'b')
    """
    lengths = [content.shape[0] for content in training()]
    number = -(-len(lengths) * most // max(most, sum(lengths)))  # rounded up
    chosen = {i * len(lengths) // number for i in range(number)}
    texts = (content for i, content in enumerate(training()) if i in chosen)
    parts = [text.read(max(0, text.shape[0] - most), text.shape[0]).tobytes() for text in texts]
    return b"".join(parts)[-most:]


def zstd_dictionary(known: bytes) -> Any:
    """The dictionary that zstd makes of training texts; their last bytes where it finds too few of use."""
    size = max(1, min(DICTIONARY_BYTES, len(known) // _TENTH))
    pieces = [known[start : start + _SAMPLE_BYTES] for start in range(0, len(known), _SAMPLE_BYTES)]
    try:
        return _zstd().train_dictionary(size, pieces)
    except _zstd().ZstdError:
        return _zstd().ZstdCompressionDict(known[-size:], dict_type=_zstd().DICT_TYPE_RAWCONTENT)


def _pack_ppmd(known: bytes, text: bytes) -> bytes:
    encoder = import_module("pyppmd").Ppmd7Encoder(PPMD_ORDER, PPMD_MEMORY)
    encoder.encode(known)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + encoder.encode(text) + encoder.flush()


def _start_dictionary(known: bytes) -> Pack:
    dictionary = zstd_dictionary(known)
    dictionary.precompute_compress(level=19)
    return _zstd().ZstdCompressor(level=19, dict_data=dictionary).compress


def _start_raw(known: bytes) -> Pack:
    dictionary = _zstd().ZstdCompressionDict(known, dict_type=_zstd().DICT_TYPE_RAWCONTENT)
    log = max(22, len(known).bit_length())  # tables that hold all of its positions
    settings = _zstd().ZstdCompressionParameters.from_level(
        19, window_log=WINDOW_LOG, chain_log=log + 1, hash_log=log
    )
    dictionary.precompute_compress(compression_params=settings)
    return _zstd().ZstdCompressor(compression_params=settings, dict_data=dictionary).compress


def _primed(name: str, known: bytes, start: Callable[[bytes], Pack]) -> Baseline:
    started = cache(start)
    return _baseline(name, lambda text: started(known)(text), len(known))


def _baseline(name: str, pack: Pack, training_bytes: int = 0) -> Baseline:
    return Baseline(name, lambda text: pack(text.tobytes()), training_bytes)


def _zstd() -> Any:
    return import_module("zstandard")
