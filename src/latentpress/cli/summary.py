"""The line that ends a verb: what was done, in bytes, bits, time and speed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latentpress.cli.progress import format_bytes, format_seconds, say

if TYPE_CHECKING:
    from latentpress.items.base import Words
    from latentpress.press import Summary

__all__ = ["counted", "say_summary"]


def counted(count: int, words: Words) -> str:
    """Words a number of items.

    >>> from latentpress.items import Image
    >>> counted(1, Image.words), counted(2000, Image.words)
    ('1 image', '2,000 images')
    """
    return f"{count:,} {words.item if count == 1 else words.items}"


def say_summary(verb: str, summary: Summary, *, everything: bool = True) -> None:
    """Prints the summary of a run over all items of an archive, or over some of them (not `everything`)."""
    files, archive = summary.file_bytes, summary.archive_bytes
    parts = [f"{verb} {counted(summary.items, summary.words)}"]
    if files is not None:
        parts.append(f"{format_bytes(files)} of files")
    parts.append(f"{format_bytes(archive)} of archive")
    if files is not None and verb == "compressed":
        parts.append(f"ratio {files / archive:.2f}")
    if everything:
        parts.append(f"{summary.bits_per_dim:.4f} bits/dim")
    if summary.model_bits is not None:
        parts.append(f"{summary.model_bits:,.0f} bits by the model, {8 * archive:,} in the file")
    if summary.lossless:
        parts.append(
            f"lossless: every {summary.words.position} {'restored' if verb == 'restored' else 'kept'}"
        )
    if summary.fallback:
        parts.append(f"{summary.fallback} stored by the fallback codec")
    if summary.duplicates:
        parts.append(f"{summary.duplicates} there once already")
    seconds = max(summary.seconds, 1e-9)
    parts.append(format_seconds(summary.seconds))
    parts.append(f"{summary.items / seconds:.1f} {summary.words.items}/s")
    if files is not None:
        parts.append(f"{format_bytes(files / seconds)}/s")
    say(", ".join(parts))
