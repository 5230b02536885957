"""What archives need of a model, and whether a model has it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from latentpress.coding import Archive, Header, Mode, Part
from latentpress.coding.records import Content
from latentpress.config import PartName
from latentpress.errors import ArchiveError, LatentpressError, MissingPartError, WrongModelError
from latentpress.model import Model
from latentpress.press.bitsback import ChainCoder
from latentpress.press.blocks import BlockCoder
from latentpress.press.coders import CodesCoder, FallbackCoder, FileCoder, SamplesCoder

__all__ = ["CODED", "check_half", "check_model", "coder_for", "header_for", "leaves", "required_ids"]

CODED: dict[Content, Part] = {"codes": Part.CODES, "samples": Part.SAMPLES, "chains": Part.CHAIN}
"""The blocks of an archive from which items are restored, but for those that are stored otherwise."""

_IDS = {"codes": {"codes"}, "samples": {"decoder"}, "chains": {"decoder", "encoder", "prior"}}
_BOTH: tuple[PartName, ...] = ("encoder", "autoregressive")
_COMPRESSING: dict[Content, tuple[PartName, ...]] = {"codes": ("encoder",), "samples": _BOTH, "chains": _BOTH}
_RESTORING: dict[Content, tuple[PartName, ...]] = {
    "codes": (),
    "samples": ("autoregressive",),
    "chains": _BOTH,
}


def header_for(model: Model, content: Content, name: str = "", seed: int = 0) -> Header:
    """The header of the archives of a model, which messages call `name`; see `compress` for the seed."""
    decoder, item, ids = model.integer.archive_decoder, model.item, dict(model.integer.ids)
    conditioned = content == "samples" and decoder is not None and decoder.conditioner is not None
    if content == "codes":
        ids["codes"] = model.codes_id
    elif content == "chains" and model.integer.decoder is not None:
        ids["decoder"] = model.integer.decoder.id  # for latents in their finest steps
    return Header(
        kind=item.kind,
        channels=item.channels,
        hop=model.hop,
        code_alphabets=model.alphabets if content == "codes" or conditioned else (),
        sample_alphabets=item.alphabets,
        segment=item.segment * model.integer.segments,
        content=content,
        residual=model.residual and content != "codes",
        labels=len(model.config.labels),
        model="".join(character for character in name if character.isprintable()),
        ids={name: id for name, id in ids.items() if name in _IDS[content] | {"prior"}},
        seed=seed if content == "codes" and model.stochastic else None,
    )


def coder_for(part: Part, model: Model, header: Header) -> BlockCoder:
    """The coder of a part of an archive; raises `LatentpressError` where the model lacks what it takes."""
    if part is Part.FALLBACK:
        return FallbackCoder(model.item)
    if part is Part.FILE:
        return FileCoder(model.item)
    if part is Part.CHAIN:
        return ChainCoder(model)
    codes = CodesCoder(model, header.code_alphabets) if header.code_alphabets else None
    decoder = model.integer.archive_decoder
    if part is Part.SAMPLES and decoder is not None:
        return SamplesCoder(model, decoder, codes)
    if part is Part.CODES and codes is not None:
        return codes
    missing = {Part.CODES: "codes", Part.SAMPLES: "autoregressive decoder in integer form (--stage decoder)"}
    raise LatentpressError(f"the model has no {missing[part]}, which such an archive takes")


def leaves(archive: Archive, items: Iterable[int]) -> dict[Part, list[int]]:
    """The blocks that items are restored from, part by part: not the codes of lossless archives."""
    blocks = {number for item in items for number in archive.blocks_of[item]}
    parts = (CODED[archive.header.content], Part.FALLBACK, Part.FILE)
    by_part = {part: [n for n in sorted(blocks) if archive.layout[n].part is part] for part in parts}
    return {part: numbers for part, numbers in by_part.items() if numbers}


def required_ids(archive: Archive, items: Iterable[int]) -> dict[str, bytes]:
    """Hashes, by name, of the parts of a model without which items cannot be restored."""
    items, header = list(items), archive.header
    needed = _IDS[header.content] if CODED[header.content] in leaves(archive, items) else set[str]()
    if any(archive.modes[number] is Mode.PRIOR for item in items for number in archive.blocks_of[item]):
        needed = needed | {"prior"}
    return {name: header.ids[name] for name in sorted(needed)}


def check_model(archive: Archive, model: Model, items: Sequence[int]) -> None:
    """Raises unless a model has what these items are restored with.

    Raises:
        MissingPartError: it is the half of a model that has not.
        WrongModelError: it is another model.
        ArchiveError: the header, or a label, does not fit the model that the archive names.
    """
    header, item = archive.header, model.item
    if (header.kind, header.channels, header.sample_alphabets) != (item.kind, item.channels, item.alphabets):
        kind = f"kind {header.kind!r} with {header.channels} channels"
        raise WrongModelError(f"this archive holds items of {kind}; the model is for {item.words.items}")
    needed = required_ids(archive, items)
    if not needed:
        return  # none of them takes a network
    check_half(model, header.content, restoring=True)
    own, sizes = header_for(model, header.content), [len(label.values) for label in model.config.labels]
    for name, id in needed.items():
        if own.ids.get(name) != id:
            needs = f"the model {header.model!r}" if header.model else "a model"
            has = f"the one given has {own.ids[name].hex() if name in own.ids else 'none'}"
            raise WrongModelError(f"this archive needs {needs} with {name} {id.hex()}; {has}")
    fields = ("hop", "code_alphabets", "residual", "labels")
    fits = all(getattr(header, field) == getattr(own, field) for field in fields)
    records = (archive.items[number] for number in items)
    labels = (np.array(each.labels if each.tracks is None else each.tracks) for each in records)
    if not fits or any((each >= sizes).any() for each in labels):
        raise ArchiveError("damaged archive: its header or a label does not fit the model that it names")


def check_half(model: Model, content: Content, *, restoring: bool) -> None:
    """Raises `MissingPartError` where half a model cannot make, or restore, archives of that content."""
    parts = (_RESTORING if restoring else _COMPRESSING)[content]
    for part in parts:
        if model.half_name is not None and not model.has(part):
            use = "the whole model" if parts == _BOTH else ""
            raise MissingPartError(model.half_name, model.sides[part], use)
