"""The autoregressive network over grids of symbol tuples, in floating point and in exact integers."""

from latentpress.autoregressive.integer.network import IntegerNetwork
from latentpress.autoregressive.network import CausalNetwork, Conditioning

__all__ = ["CausalNetwork", "Conditioning", "IntegerNetwork"]
