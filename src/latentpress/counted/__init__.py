"""Counted contexts: a distribution that learns by coding, in integers from end to end.

Each symbol is some binary decisions. Adaptive counters, found by contexts, foretell each; what they say is
mixed in the logistic domain with weights that contexts choose too, and refined (the PAQ family: Mahoney,
*Adaptive weighing of context models for lossless data compression*, 2005). What training items taught is
read-only while an item is coded; beside it small tables begin empty with every item.
"""

from latentpress.counted.decoder import CountedBytes, CountedDecoder

__all__ = ["CountedBytes", "CountedDecoder"]
