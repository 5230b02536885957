"""Items under other labels: their own latents, decoded as another class or speaker would have them.

    z = encode(x),   x' ~ p(x' | z, label'),   or what the parallel decoder gives

What the latents say stays, and what the decoder knows of the label changes (arXiv 1711.00937, section 4.3,
whose speaker conversion this is).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from latentpress.data import ItemRef
from latentpress.errors import ItemError, LatentpressError
from latentpress.items import Content
from latentpress.model import Model
from latentpress.model.labels import check_labels, decoder_labels, labels_of
from latentpress.names import shown

__all__ = ["Conversion", "conversions", "convert"]


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
    return [Conversion(ref, {**labels, each: value}, value) for value in values for ref in items]


def convert(
    model: Model,
    work: Sequence[Conversion],
    *,
    seed: int = 0,
    temperature: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Content]:
    """Converts items, one after the other; the labels that a conversion does not name are the items' own.

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
    for number, conversion in enumerate(work):
        content = conversion.ref.open()
        if not model.takes(content.shape):
            size = " x ".join(map(str, content.shape))
            raise ItemError(f"{shown(conversion.ref.name)}: {size}, and the model takes {model.wanted()}")
        samples = content.samples
        numbers = model.label_numbers({**conversion.ref.labels, **conversion.labels}, len(samples))
        codes = model.encode(samples[None])
        how = {"seed": seed, "numbers": [number], "temperature": temperature}
        [converted] = model.decode(codes, content.size, labels=labels_of([numbers]), **how)
        yield Content.of(converted, content.attributes)
        if progress is not None:
            progress(number + 1, len(work))
