"""What archives need of a model, and whether a model has it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from latentpress.coding.container import Archive
from latentpress.coding.layout import Part
from latentpress.coding.modes import Mode
from latentpress.coding.records import Content, Header
from latentpress.errors import ArchiveError, LatentpressError, MissingPartError, WrongModelError
from latentpress.model.base import Model
from latentpress.press.bitsback import ChainCoder
from latentpress.press.blocks import BlockCoder
from latentpress.press.coders import CodesCoder, FallbackCoder, SamplesCoder

__all__ = ["CODED", "check_capable", "check_model", "coder_for", "header_for", "required_ids"]

CODED: dict[Content, Part] = {"codes": Part.CODES, "samples": Part.SAMPLES, "chains": Part.CHAIN}
"""The blocks of an archive from which items are restored, but for those that are stored by the fallback."""

_IDS = {"codes": ("codes",), "samples": ("decoder",), "chains": ("decoder", "encoder", "prior")}
_COMPRESSING = {"codes": ("encoder",)}
_RESTORING = {"codes": (), "samples": ("autoregressive",)}
_ALL_PARTS = ("encoder", "autoregressive")


def header_for(model: Model, content: Content, name: str, seed: int) -> Header:
    """The header of the archives that a model makes.

    Args:
        model: the codec.
        content: what is coded.
        name: what messages call the model.
        seed: of the random numbers with which samples are drawn given codes, if they are.
    """
    decoder = model.integer.archive_decoder
    conditioned = content == "samples" and decoder is not None and decoder.conditioner is not None
    return Header(
        kind=model.item.kind,
        channels=model.item.channels,
        hop=model.hop,
        code_alphabets=model.alphabets if content == "codes" or conditioned else (),
        sample_alphabets=model.item.alphabets,
        segment=model.item.segment,
        content=content,
        residual=model.residual and content != "codes",
        labels=len(model.config.labels),
        model="".join(character for character in name if character.isprintable()),
        ids=_ids(model, content),
        seed=seed if content == "codes" and model.stochastic else None,
    )


def coder_for(part: Part, model: Model, header: Header) -> BlockCoder:
    """The coder of a part of an archive, for a model that fits it."""
    codes = CodesCoder(model, header.code_alphabets) if header.code_alphabets else None
    if part is Part.FALLBACK:
        return FallbackCoder(model.item)
    if part is Part.CHAIN:
        return ChainCoder(model)
    if part is Part.CODES:
        assert codes is not None, "an archive of codes has their alphabets"
        return codes
    decoder = model.integer.archive_decoder
    assert decoder is not None, "the archive's decoder is the model's"
    return SamplesCoder(model, decoder, codes)


def required_ids(archive: Archive, chosen: Iterable[int]) -> dict[str, bytes]:
    """Hashes, by name, of the parts of a model without which these items cannot be restored."""
    header = archive.header
    blocks = {number for item in chosen for number in archive.blocks_of[item]}
    needed = {"prior"} if any(archive.modes[number] is Mode.PRIOR for number in blocks) else set[str]()
    if any(archive.layout[number].part is CODED[header.content] for number in blocks):
        needed.update(_IDS[header.content])
    return {name: header.ids[name] for name in sorted(needed)}


def check_model(archive: Archive, model: Model, chosen: Iterable[int]) -> None:
    """Raises unless a model has what these items are restored with.

    Raises:
        MissingPartError: it is the half of a model that has not.
        WrongModelError: it is another model.
        ArchiveError: the header, or a label, does not fit the model that the archive names.
    """
    header, item, chosen = archive.header, model.item, list(chosen)
    if (header.kind, header.channels, header.sample_alphabets) != (item.kind, item.channels, item.alphabets):
        raise WrongModelError(
            f"this archive holds items of kind {header.kind!r} with {header.channels} channels, and the model "
            f"is for {item.words.items} with {item.channels}"
        )
    needed = required_ids(archive, chosen)
    if not needed:
        return  # all of them are stored by the fallback
    _check_half(model, _RESTORING.get(header.content, _ALL_PARTS))
    given = _ids(model, header.content)
    for name, id in needed.items():
        if given.get(name) != id:
            needs = f"the model {header.model!r}" if header.model else "a model"
            has = given[name].hex() if name in given else "none"
            raise WrongModelError(f"this archive needs {needs} with {name} {id.hex()}; the one given has {has}")
    expected = header_for(model, header.content, "", 0)
    fields = ("hop", "code_alphabets", "residual", "labels")
    fits = all(getattr(header, field) == getattr(expected, field) for field in fields)
    sizes = np.array([len(label.values) for label in model.config.labels], np.int64)
    records = (archive.items[number] for number in chosen)
    labels = (np.atleast_2d(record.labels if record.tracks is None else record.tracks) for record in records)
    if not fits or (len(sizes) and any((each >= sizes).any() for each in labels)):
        raise ArchiveError("damaged archive: its header or a label does not fit the model that it names")


def check_capable(model: Model, content: Content) -> None:
    """Raises `LatentpressError` unless a model can make archives of that content."""
    _check_half(model, _COMPRESSING.get(content, _ALL_PARTS))
    if content == "codes" and not model.alphabets:
        raise LatentpressError(
            "the model has no codes, which take latents and a prior in integer form: compress losslessly"
        )
    if content == "samples" and model.integer.archive_decoder is None:
        raise LatentpressError(
            "the model has no autoregressive decoder in integer form to compress losslessly with; train one "
            "with --stage decoder"
        )
    if content == "chains":
        ChainCoder(model)


def _check_half(model: Model, parts: tuple[str, ...]) -> None:
    for part in parts:
        if model.half_name is not None and not model.has(part):
            whole = "the whole model" if len(parts) > 1 else ""
            raise MissingPartError(model.half_name, model.sides[part], whole)


def _ids(model: Model, content: Content) -> dict[str, bytes]:
    """Hashes of the parts of a model that matter in archives of that content."""
    ids = model.integer.ids
    prior = {"prior": ids["prior"]} if "prior" in ids else {}
    if content == "codes":
        return {"codes": model.codes_id, **prior}
    if content == "samples":
        return {"decoder": ids["decoder"], **prior} if "decoder" in ids else prior
    decoder = model.integer.decoder  # for latents in their finest steps
    return {**ids, "decoder": decoder.id} if decoder is not None else ids
