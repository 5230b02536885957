"""Items under other labels: their own latents, decoded as another class or speaker would have them.

    z = encode(x),   x' ~ p(x' | z, label'),   or what the parallel decoder gives

What the latents say stays, and what the decoder knows of the label changes (arXiv 1711.00937, section 4.3,
whose speaker conversion this is).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from latentpress.data import ItemRef
from latentpress.errors import ItemError, LatentpressError
from latentpress.items import Content
from latentpress.model import Model
from latentpress.model.labels import check_labels, decoder_labels, labels_of
from latentpress.names import shown

__all__ = ["Conversion", "conversions", "convert"]

_TOGETHER = 1 << 20  # samples that are converted together


@dataclass(frozen=True)
class Conversion:
    """An item to convert, under which labels, and the `folder` of its result, "" for none of its own."""

    ref: ItemRef
    labels: Mapping[str, str]
    folder: str = ""


def conversions(
    model: Model, items: Sequence[ItemRef], labels: Mapping[str, str], each: str | None = None
) -> list[Conversion]:
    """What is to be done to convert items, each under the labels, or with `each` under every value of one.

    Raises:
        LatentpressError: the decoder is not conditioned by such a label, or does not know its value.
    """
    if not labels and each is None:
        raise LatentpressError("say what to convert to: the value of a label, or a label for all its values")
    used, config = decoder_labels(model.config), model.config
    part = "autoregressive" if config.parallel is None else "parallel"
    check_labels(config, labels, used, part)
    if each is None:
        return [Conversion(ref, labels) for ref in items]
    values = next((label.values for label in config.labels if label.name == each and each in used), ())
    if not values or each in labels:
        there = ", ".join(sorted(used - set(labels))) or "none"
        raise LatentpressError(f"no label {each!r} to take all values of; the decoder has: {there}")
    return [Conversion(ref, {**labels, each: value}, value) for ref in items for value in values]


def convert(
    model: Model,
    work: Sequence[Conversion],
    *,
    seed: int = 0,
    temperature: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Content]:
    """Converts items, in their order; the labels that a conversion does not name are the items' own.

    Neighbours of one shape go through the model together, and what they share is encoded once.

    Args:
        model: a whole model whose decoder is conditioned by the labels.
        work: what `conversions` gave.
        seed: of an autoregressive decoder's draws; item number n of it is the nth conversion.
        temperature: divides the log-probabilities of a draw.
        progress: called with how many conversions are done, and of how many.

    Raises:
        ItemError: an item has a shape that the model does not take.
        MissingPartError: this is half a model.
    """
    for part in ("encoder", "parallel"):
        model.require(part)
    model.integer.prepare(1, lambda *_: None)
    done = 0
    for batch in _batches(model, work):
        refs = list(dict.fromkeys(conversion.ref for conversion, _ in batch))
        size = batch[0][1].size
        codes = model.encode(np.stack([ref.read() for ref in refs]))
        numbers = [model.label_numbers({**each.ref.labels, **each.labels}, size[0]) for each, _ in batch]
        converted = model.decode(
            codes[[refs.index(conversion.ref) for conversion, _ in batch]],
            size,
            seed=seed,
            numbers=range(done, done + len(batch)),
            labels=labels_of(numbers),
            temperature=temperature,
        )
        for (_, content), samples in zip(batch, converted, strict=True):
            done += 1
            if progress is not None:
                progress(done, len(work))
            yield Content.of(samples, content.attributes)


def _batches(model: Model, work: Sequence[Conversion]) -> Iterator[list[tuple[Conversion, Content]]]:
    """Neighbours whose items have one shape, as many as are converted together."""
    batch = list[tuple[Conversion, Content]]()
    for conversion in work:
        known = batch and batch[-1][0].ref is conversion.ref
        content = batch[-1][1] if known else conversion.ref.open()
        if not model.takes(content.shape):
            size = " x ".join(map(str, content.shape))
            raise ItemError(f"{shown(conversion.ref.name)}: {size}, and the model takes {model.wanted()}")
        room = len(batch) < max(1, _TOGETHER // math.prod(content.shape))
        if batch and not (room and batch[0][1].shape == content.shape):
            yield batch
            batch = []
        batch.append((conversion, content))
    if batch:
        yield batch
