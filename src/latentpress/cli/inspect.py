"""`latentpress inspect`: what an archive or a model folder holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentpress.cli import options
from latentpress.cli.streams import show

if TYPE_CHECKING:
    from latentpress.coding.inspection import ArchiveInfo, ModeUse

__all__ = ["command"]


@click.command(short_help="Show what an archive or a model holds.")
@click.argument("path", metavar="FILE|MODEL", type=options.OLD_PATH)
@options.json_option
@options.debug_option
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
        show(json.dumps(about, indent=2) if as_json else _model_text(about))
        return
    from latentpress.coding.inspection import inspect_archive

    with options.input_file(path) as source:
        info = inspect_archive(source)
    show(json.dumps(_archive(info), indent=2, default=_plain) if as_json else _archive_text(info))


def _model(folder: Path) -> dict[str, Any]:
    from latentpress.model import load

    model = load(folder, "cpu")
    ids = {"codes": model.codes_id, **model.integer.ids}
    return {
        "half": model.half_name,
        "bytes": (folder / "model.safetensors").stat().st_size,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "holds_training": model.integer.holds_training,
        "ids": {name: form.hex() for name, form in ids.items()},
        "config": asdict(model.config),
    }


def _model_text(about: dict[str, Any]) -> str:
    from latentpress.train.card import HOLDS_TRAINING

    half, held = about["half"], about["holds_training"]
    lines = [
        *([("half", f"the {half} half of a model")] if half else []),
        ("bytes", f"{about['bytes']:,}"),
        ("parameters", f"{about['parameters']:,}"),
        *((f"id {name}", value) for name, value in about["ids"].items()),
        *([("training", HOLDS_TRAINING[held])] if held else []),
        ("lossless", "yes" if "decoder" in about["ids"] else "no: there is no autoregressive decoder"),
        *((name, _settings(value)) for name, value in about["config"].items() if value is not None),
    ]
    return "\n".join(f"{name:14} {value}" for name, value in lines)


def _settings(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_settings(part)}" for key, part in value.items())
    return json.dumps(value)


def _archive(info: ArchiveInfo) -> dict[str, Any]:
    figures = ("bytes", "framing_bytes", "bits_per_dim", "fallback", "files", "duplicates")
    return {
        **{name: getattr(info, name) for name in figures},
        **_plain(info.header),
        "lossless": info.header.lossless,
        "modes": info.modes,
        "items": info.items,
    }


def _plain(value: Any) -> Any:
    """What JSON has no type for."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _archive_text(info: ArchiveInfo) -> str:
    from latentpress.names import shown

    header = info.header
    codes = f"{len(header.code_alphabets)} a position, of {max(header.code_alphabets, default=0)} values"
    lines = [
        ("bytes", f"{info.bytes:,}, of them framing {info.framing_bytes:,}"),
        ("bits/dim", f"{info.bits_per_dim:.4f}"),
        ("items", f"{len(info.items):,}, {header.kind} of {header.channels} channel(s)"),
        ("lossless", "yes" if header.lossless else "no"),
        ("stored", f"{info.fallback:,} items by the fallback codec, {info.files:,} as files"),
        ("duplicates", f"{info.duplicates:,}"),
        ("codes", f"{codes if header.code_alphabets else 'none'}, hop {' x '.join(map(str, header.hop))}"),
        ("model", header.model or "(no name)"),
        *((f"id {name}", value.hex()) for name, value in header.ids.items()),
        ("blocks", ", ".join(f"{use.blocks} {_use(use)} ({use.bytes:,} bytes)" for use in info.modes)),
    ]
    items = (f"{' x '.join(map(str, item.shape)):>14}  {shown(item.name)}" for item in info.items)
    return "\n".join([*(f"{name:11} {value}" for name, value in lines), "", *items])


def _use(use: ModeUse) -> str:
    """Words what blocks are of, and their mode where that says more."""
    return use.part if use.part == use.mode else f"of {use.part}, {use.mode}"
