"""Symbols of grids of one to three axes under counted contexts: codes, alone or beside a causal network.

contexts.py says what a symbol's decisions look at, order.py which codes are alike, state.py what is known;
kernels.py codes decisions and learns, beside.py beside a network. coding.py has streams, priming.py what
training items teach, pieces.py and packing.py how a model keeps that, distribution.py `CountedGrid`.
"""

__all__: list[str] = []
