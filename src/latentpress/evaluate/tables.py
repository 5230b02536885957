"""An evaluation in rows of words, for the command line and the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tabulate import tabulate

from latentpress.evaluate.comparison import Comparison
from latentpress.evaluate.quality import MEASURES, Quality
from latentpress.evaluate.results import Evaluation

__all__ = [
    "CODECS",
    "OVER",
    "codec_name",
    "codec_rows",
    "evaluation_table",
    "figure_rows",
    "markdown",
    "worded",
]

CODECS = {"png": "PNG", "jpeg": "JPEG", "webp": "WebP", "avif": "AVIF", "jxl": "JPEG XL"}
"""How codecs are written whose names are written otherwise."""

OVER = " *"
"""Ends the name of a codec that cannot get down to the archive's bytes."""


def markdown(rows: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> str:
    """A Markdown table whose first row is its head, the first column left, the others right; then notes.

    >>> print(markdown([("codec", "bytes"), ("webp", "1,234")], ["at equal bytes"]))
    | codec   |   bytes |
    |:--------|--------:|
    | webp    |   1,234 |
    <BLANKLINE>
    - at equal bytes
    """
    sides = ["left", *["right"] * (len(rows[0]) - 1)]
    table = tabulate(rows[1:], rows[0], "pipe", colalign=sides, disable_numparse=True)
    return "\n".join([table, "", *(f"- {note}" for note in notes)])


def evaluation_table(found: Evaluation) -> str:
    """An evaluation in Markdown: the model's archive first, then files and other codecs."""
    return markdown(codec_rows(found), [f"{name}: {value}" for name, value in figure_rows(found)])


def codec_name(comparison: Comparison) -> str:
    """How a codec and a layout are written.

    >>> codec_name(Comparison(codec="webp", layout="mosaic", size_bytes=9))
    'WebP, mosaic'
    """
    name = f"{CODECS.get(comparison.codec, comparison.codec)}, {comparison.layout}"
    return name if comparison.fits else name + OVER


def codec_rows(found: Evaluation) -> list[list[str]]:
    """A table: its head, the model's archive, the files that came in, and the other codecs."""
    words, quality = found.words, found.quality
    per_position = quality is not None or found.dims == found.positions
    parts, unit = (found.positions, words.position) if per_position else (found.dims, "dim")
    names = [] if quality is None else list(quality.measures)

    def row(name: str, size: int, of: Quality | None = None, gain: float | None = None) -> list[str]:
        cells = [name, f"{size:,}", f"{size / found.num_items:,.1f}", f"{8 * size / parts:.4f}"]
        if of is not None:
            cells += [f"{of.psnr_db:.2f}", "" if gain is None else f"{gain:+.2f}", f"{of.mean_psnr_db:.2f}"]
            cells += [f"{of.measures[key]:.4f}" if key in of.measures else "" for key in names]
        return cells + [""] * (len(head) - len(cells))

    head = ["codec", "bytes", f"bytes/{words.item}", f"bits/{unit}"]
    if quality is not None:
        head += ["PSNR dB", "gain dB", "mean PSNR", *(MEASURES[name] for name in names)]
    rows = [head, row("**Latentpress**", found.archive_bytes, quality)]
    if found.file_bytes is not None:
        rows.append(row("the files that came in", found.file_bytes))
    for each in found.comparisons:
        gain = found.gain_db(each) if each.fits else None
        rows.append(row(codec_name(each), each.size_bytes, each.quality, gain))
    return rows


def figure_rows(found: Evaluation) -> Iterator[tuple[str, str]]:
    """What else there is to say, as names and values."""
    words, lossy, size = found.words, found.lossy, found.archive_bytes
    yield words.items, f"{found.num_items:,}" + ("" if lossy else f", every {words.position} restored")
    yield "archive, bits/dim", f"{found.bits_per_dim:.4f}"
    if found.ratio is not None:
        grown = "" if found.ratio >= 1 else ": a loss"
        yield "bytes of the files that came in / of the archive", f"{found.ratio:.4g}{grown}"
    if found.model_bits:
        ideal = found.model_bits / 8
        yield "archive bytes / ideal length under the model", f"{size:,} / {ideal:,.0f} = {size / ideal:.4f}"
    if lossy is not None:
        ratio = f" ({size / lossy.latent_bytes:.4f} in the archive)" if lossy.latent_bytes else ""
        yield "latents under the model's prior, bytes", f"{lossy.latent_bytes:,.0f}{ratio}"
        yield "lossless under the float model, bits/dim", f"{found.model_bits_per_dim:.4f}"
        yield from ((name, worded(value, unit)) for name, value, unit in lossy.details.figures())
        if lossy.stochastic:
            yield "distortion", "that of draws: the decoder draws what the latents do not say"
    for part, length in found.part_bytes.items():
        yield f"of the archive, {part}, bytes", f"{length:,}"
    if found.fallbacks:
        yield f"{words.items} stored by the fallback codec", f"{found.fallbacks:,}"
    if found.duplicates:
        yield f"{words.items} that are there once already", f"{found.duplicates:,}"
    known = {each.codec: each.training_bytes for each in found.comparisons if each.training_bytes}
    for codec, length in known.items():
        yield f"training {words.items} that {codec} knows, bytes", f"{length:,}, not counted"
    for what, seconds in (("compressing", found.encode_seconds), ("restoring", found.decode_seconds)):
        items, samples = (count / max(seconds, 1e-9) for count in (found.num_items, found.dims))
        yield what, f"{items:.1f} {words.items}/s, {samples / 1000:,.1f} thousand samples/s"
    if not all(each.fits for each in found.comparisons):
        yield OVER.strip(), "its fewest bytes: it cannot get down to the archive's"


def worded(value: float, unit: str) -> str:
    """A figure of a model's details.

    >>> worded(0.125, "share"), worded(1234, "count"), worded(2.25, "nats")
    ('12.5%', '1,234', '2.250')
    """
    if unit == "share":
        return f"{value:.1%}"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.3f}"
