"""`latentpress inspect`: what an archive or a model folder holds."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentpress.cli.options import OLD_PATH, debug_option, input_file, json_option

if TYPE_CHECKING:
    from latentpress.coding.inspection import ArchiveInfo, ModeUse

__all__ = ["command"]


@click.command(short_help="Show what an archive or a model holds.")
@click.argument("path", metavar="FILE|MODEL", type=OLD_PATH)
@json_option
@debug_option
def command(path: Path, as_json: bool) -> None:
    """Show what an archive or a model folder holds.

    An archive needs neither its model nor torch for it. A model is loaded, and so proven to be whole.

    \b
    Examples:
      latentpress inspect photos.lpz
      latentpress inspect model --json
    """
    if path.is_dir():
        about = _model(path)
        click.echo(json.dumps(about, indent=2) if as_json else _model_text(about))
        return
    from latentpress.coding.inspection import inspect_archive

    with input_file(path) as source:
        info = inspect_archive(source)
    click.echo(json.dumps(_archive(info), indent=2) if as_json else _archive_text(info))


def _model(folder: Path) -> dict[str, Any]:
    from latentpress.model import load

    model = load(folder, "cpu")
    return {
        "half": model.half_name,
        "bytes": (folder / "model.safetensors").stat().st_size,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "codebook_id": model.codebook_id.hex(),
        "prior_id": model.prior_id.hex() if model.exact_prior is not None else None,
        "pixels_id": model.pixels_id.hex() if any(model.pixels_id) else None,
        "config": asdict(model.config),
    }


def _model_text(about: dict[str, Any]) -> str:
    config = about["config"]
    half = about["half"]
    left_out = {"half", "decoder_id"} if config.get("decoder_id") is None else {"half"}
    lines = [
        *([f"half        the {half} half of a model"] if half else []),
        f"bytes       {about['bytes']:,}",
        f"parameters  {about['parameters']:,}",
        f"codebook    {about['codebook_id']}",
        f"prior       {about['prior_id'] or '(none)'}",
        f"pixels_id   {about['pixels_id'] or '(none: it cannot press losslessly)'}",
        *(f"{name:11} {_settings(value)}" for name, value in config.items() if name not in left_out),
    ]
    return "\n".join(lines)


def _settings(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_settings(part)}" for key, part in value.items())
    return json.dumps(value)


def _archive(info: ArchiveInfo) -> dict[str, Any]:
    header = asdict(info.header)
    for name in ("prior_id", "codebook_id", "pixels_id", "encoder_id"):
        header[name] = header[name].hex() if header[name] is not None else None
    return {
        "bytes": info.bytes,
        "framing_bytes": info.framing_bytes,
        "bits_per_dim": info.bits_per_dim,
        "lossless": info.header.lossless,
        "stored_whole": info.whole,
        **header,
        "modes": [asdict(use) for use in info.modes],
        "items": [asdict(item) for item in info.items],
    }


def _archive_text(info: ArchiveInfo) -> str:
    header = info.header
    modes = ", ".join(f"{use.blocks} {_use(use)} ({use.bytes:,} bytes)" for use in info.modes)
    sizes = f"{len(header.sizes)} a position, of {max(header.sizes)} values, " if header.sizes else "none, "
    lines = [
        f"bytes       {info.bytes:,}, of them framing {info.framing_bytes:,}",
        f"bits/dim    {info.bits_per_dim:.4f}",
        f"items       {len(info.items):,}, {header.kind} of {header.channels} channel(s)",
        f"lossless    {_lossless(info)}",
        f"codes       {sizes}hop {' x '.join(map(str, header.hop))}",
        f"model       {header.model or '(no name)'}",
        f"codebook    {header.codebook_id.hex()}",
        f"prior       {header.prior_id.hex() if any(header.prior_id) else '(none needed)'}",
        f"pixels      {header.pixels_id.hex() if header.pixels_id else '(none needed)'}",
        *([f"encoder     {header.encoder_id.hex()}"] if header.encoder_id else []),
        f"blocks      {modes}",
        "",
        *(f"{' x '.join(map(str, item.shape)):>14}  {item.name}" for item in info.items),
    ]
    return "\n".join(lines)


def _lossless(info: ArchiveInfo) -> str:
    if not info.header.lossless:
        return "no"
    return f"yes: {len(info.items) - info.whole:,} items by the model, {info.whole:,} stored whole"


def _use(use: ModeUse) -> str:
    """Words a mode and, where it is not of codes, what it is of."""
    return use.mode if use.part in ("codes", "chain", use.mode) else f"{use.mode} of {use.part} items"
