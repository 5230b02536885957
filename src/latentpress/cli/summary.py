"""The line that ends a verb: what was done, in bytes, bits, time and speed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latentpress.cli.progress import format_bytes, format_seconds, say

if TYPE_CHECKING:
    from latentpress.press import Summary

__all__ = ["say_pressed"]


def say_pressed(verb: str, summary: Summary, *, whole: bool = True) -> None:
    """Prints the summary of a run over the items of an archive, or over some of them (not `whole`)."""
    sample = "byte" if summary.kind == "text" else "pixel"
    parts = [
        f"{verb} {summary.items} {summary.kind}{'' if summary.items == 1 else 's'}",
        f"{format_bytes(summary.dims)} of {summary.kind if summary.kind == 'text' else 'pixels'}",
        f"{format_bytes(summary.archive_bytes)} of archive",
    ]
    if whole:
        parts.append(f"{summary.bits_per_dim:.4f} bits/dim")
    if summary.lossless:
        parts.append(f"lossless: every {sample} {'restored' if verb == 'restored' else 'kept'}")
        if summary.whole:
            parts.append(f"{summary.whole} stored whole")
    if summary.model_bits is not None:
        parts.append(
            f"{summary.model_bits:,.0f} bits by the model, {8 * summary.archive_bytes:,} in the file"
        )
    parts.append(format_seconds(summary.seconds))
    parts.append(f"{summary.items / max(summary.seconds, 1e-9):.1f} {summary.kind}s/s")
    say(", ".join(parts))
