"""The step engine: an integer network coded with and sampled from, position by position, at machine speed.

docs/engine.md explains it. Importing this package imports Numba; `latentpress.autoregressive` does not.
"""

from latentpress.autoregressive.engine.coder import push_all
from latentpress.autoregressive.engine.lanes import FEW
from latentpress.autoregressive.engine.loop import Action, Choice
from latentpress.autoregressive.engine.program import Program, assemble
from latentpress.autoregressive.engine.run import Job, Result, run

__all__ = ["FEW", "Action", "Choice", "Job", "Program", "Result", "assemble", "push_all", "run"]
