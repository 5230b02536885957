"""Networks between items and grids of vectors, written once for 1, 2 and 3 spatial dimensions."""

from latentpress.nn.conv import ConvDecoder, ConvEncoder
from latentpress.nn.likelihoods import (
    DiscretizedLogistic,
    Gaussian,
    Laplace,
    Likelihood,
    bits_per_dim,
    build_likelihood,
)
from latentpress.nn.tiling import Tile, pad_to_hop, tiled, tiles

__all__ = [
    "ConvDecoder",
    "ConvEncoder",
    "DiscretizedLogistic",
    "Gaussian",
    "Laplace",
    "Likelihood",
    "Tile",
    "bits_per_dim",
    "build_likelihood",
    "pad_to_hop",
    "tiled",
    "tiles",
]
