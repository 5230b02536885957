"""Training: a model from a pool of items, in a folder from which any interrupted run continues.

    trainer.py     a whole run: stages one after another, checkpoints, the finished model
    loop.py        the loop of one stage, which knows nothing of what it trains
    stages.py      what each stage moves, and by which loss
    pixels.py      the stage of the autoregressive decoder of pixels
    plan.py        which stages a run has, and where each ends
    codes.py       batches of codes for the prior
    optim.py       optimiser, learning rate, moving average of the weights
    runs.py        the run folder and its checkpoints
    replicas.py    one process or many
    metrics.py     figures over the steps
    pools.py       held-out items
    validation.py  figures and pictures of them
    card.py        the model card

Only `trainer`, `stages` and `pixels` know what a model is made of.
"""

from latentpress.train.plan import StageName
from latentpress.train.trainer import Progress, TrainResult, run

__all__ = ["Progress", "StageName", "TrainResult", "run"]
