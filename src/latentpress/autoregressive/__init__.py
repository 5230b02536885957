"""The autoregressive network over grids of symbol tuples, in floating point and in integers."""

from latentpress.autoregressive.decoder import AutoregressiveDecoder
from latentpress.autoregressive.integer.network import IntegerNetwork
from latentpress.autoregressive.network import CausalNetwork

__all__ = ["AutoregressiveDecoder", "CausalNetwork", "IntegerNetwork"]
