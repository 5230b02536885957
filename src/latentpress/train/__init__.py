"""Training: a model from a data set, in a folder from which any interrupted run continues.

trainer.py   a whole run: stages one after another, checkpoints, the finished model
fitting.py   what a configuration takes from the data: labels, sizes, a preset, a rate
plan.py      which stages a run has, what each fits, and where it ends
loop.py      the loop of one stage, which knows nothing of what it trains
stages.py    stages as the loop sees them, figures and pictures of held-out items
terms.py     what the stages of both models share: what a stage fits, and the terms of its loss
vqvae.py     what the stages of a VQ-VAE minimise; deltavae.py, those of a delta-VAE
optim.py     optimiser, learning rate, moving average of the weights
runs.py      the run folder and its checkpoints
replicas.py  one process or many
metrics.py   figures over the steps
card.py      the model card
"""

from latentpress.train.fitting import Suggestion, committing, fitted, idle_labels, suggest
from latentpress.train.plan import STAGES, StageName
from latentpress.train.trainer import Progress, TrainResult, run

__all__ = [
    "STAGES",
    "Progress",
    "StageName",
    "Suggestion",
    "TrainResult",
    "committing",
    "fitted",
    "idle_labels",
    "run",
    "suggest",
]
