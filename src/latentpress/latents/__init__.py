"""Latent spaces: vectors -> codes -> vectors.

codebook.py          the VQ-VAE's: vectors, the nearest of which stands for the encoder's
search.py            which code vector is nearest
selection.py         the gradient through that choice; index_backpropagation.py, the soft one
code_vectors.py      how code vectors learn; sampling.py, which vectors they start from
statistics.py        how often codes were chosen, over micro-batches and replicas; usage.py, how evenly

gaussian.py          the delta-VAE's: Gaussians whose posterior cannot match an AR(1) prior
independent.py       Gaussians whose posterior cannot match N(0, 1)
rates.py             how much information they commit; information.py, how much they have
auxiliary.py         the second prior of a delta-VAE's latents, fitted to the posterior
sequences.py         grids of several axes as sequences in time
integer_lstm.py      priors of sequences in integers, which code and sample them; lstm_tensors.py,
gaussian_streams.py  streams of them; stacked.py, stacks of them, for bits back
"""

from latentpress.latents.auxiliary import AuxiliaryPrior
from latentpress.latents.codebook import Codebook, Quantized
from latentpress.latents.gaussian import GaussianLatents, Posterior
from latentpress.latents.independent import build_gaussian
from latentpress.latents.integer_lstm import IntegerLSTM
from latentpress.latents.usage import CodeUsage

__all__ = [
    "AuxiliaryPrior",
    "CodeUsage",
    "Codebook",
    "GaussianLatents",
    "IntegerLSTM",
    "Posterior",
    "Quantized",
    "build_gaussian",
]
