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
    files, archive, words = summary.file_bytes, summary.archive_bytes, summary.words
    seconds = max(summary.seconds, 1e-9)
    parts = [
        f"{verb} {counted(summary.items, words)}",
        files is not None and f"{format_bytes(files)} of files",
        f"{format_bytes(archive)} of archive",
        files is not None and verb == "compressed" and f"ratio {files / archive:.2f}",
        everything and bool(summary.dims) and f"{summary.bits_per_dim:.4f} bits/dim",
        summary.model_bits is not None
        and f"{summary.model_bits:,.0f} bits by the model, {8 * archive:,} in the file",
        summary.lossless
        and f"lossless: every {words.position} {'restored' if verb == 'restored' else 'kept'}",
        summary.fallback and f"{summary.fallback} stored by the fallback codec",
        summary.files and f"{summary.files} stored as the files that they were",
        summary.renamed and f"{summary.renamed} under another name than in the archive",
        summary.duplicates and f"{summary.duplicates} there once already",
        format_seconds(summary.seconds),
        f"{summary.items / seconds:.1f} {words.items}/s",
        files is not None and f"{format_bytes(files / seconds)}/s",
    ]
    say(", ".join(part for part in parts if isinstance(part, str)))
