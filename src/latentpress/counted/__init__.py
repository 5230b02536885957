"""Counted contexts: a distribution that learns by coding, in integers or in doubles of a fixed order.

Each symbol is some binary decisions. Adaptive counters, found by contexts, foretell each; what they say is
mixed in the logistic domain with weights that contexts choose too, and refined (the PAQ family: Mahoney,
*Adaptive weighing of context models for lossless data compression*, 2005). What training items taught stays
as it is while an item is coded, so that every item can be restored by itself.

    base.py      what all of them share        decoder.py   in the place of an autoregressive decoder
    arithmetic.py, mixing.py    tables, and the mixing of predictions
    texts.py     bytes; slots, contexts, matching, state, kernels, priming and drawing are theirs
    pictures/    samples of pictures
    grids/       symbols of grids of any kind: codes; alone, or beside a causal network
"""

from latentpress.counted.decoder import CountedDecoder
from latentpress.counted.grids.distribution import CountedGrid
from latentpress.counted.pictures.distribution import CountedPictures
from latentpress.counted.texts import CountedBytes

__all__ = ["CountedBytes", "CountedDecoder", "CountedGrid", "CountedPictures"]
