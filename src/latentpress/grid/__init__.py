"""The autoregressive network over grids of symbol tuples, in floating point and in exact integers."""

from latentpress.grid.exact import ExactGrid
from latentpress.grid.network import Context, GridNetwork

__all__ = ["Context", "ExactGrid", "GridNetwork"]
