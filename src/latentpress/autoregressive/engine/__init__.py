"""The step engine: an integer network coded with and sampled from, position by position, at machine speed.

`program` lays the integers out in flat arrays, `lanes` is the state that moves, `kernels` the compiled
arithmetic, `coder` the compiled range coder, `stack` the compiled stack, `loop` the loop over positions,
and `run` gives jobs to lanes and lanes to threads. docs/engine.md explains it.

Importing this package imports Numba; `latentpress.autoregressive` does not.
"""

from latentpress.autoregressive.engine.lanes import FEW
from latentpress.autoregressive.engine.loop import BETA_BITS, Action, Choice
from latentpress.autoregressive.engine.program import Program, assemble
from latentpress.autoregressive.engine.run import Job, Result, run
from latentpress.autoregressive.engine.stack import push_all

__all__ = ["BETA_BITS", "FEW", "Action", "Choice", "Job", "Program", "Result", "assemble", "push_all", "run"]
