"""Counted contexts of pictures: regressions foretell a sample, counted contexts what is left of it.

tables.py       neighbours, classes, the tree of decisions     state.py      what is known
vectors.py      four doubles at a time                         regression.py weighted least squares
prediction.py   predictions and their blend                    contexts.py   contexts of a sample
decisions.py    a sample as decisions                          kernels.py    rows and planes
coding.py       pictures coded and drawn                       priming.py    learned from training pictures
packing.py      what was learned, in few bytes                 distribution.py   the whole
"""

__all__: list[str] = []
