"""Networks between items and grids of vectors, written once for 1, 2 and 3 axes.

blank.py       networks without weights
layers.py      strided windows, normalisation, residual blocks
conv.py        convolutional encoder and decoder
likelihoods.py distributions of samples given a decoder's outputs
parallel.py    the decoder of all samples at once: conv + likelihood + labels
signal.py      samples <-> the scale -1..1
tiling.py      large items in tiles
"""

from latentpress.nn.conv import ConvDecoder, ConvEncoder
from latentpress.nn.parallel import ParallelDecoder
from latentpress.nn.signal import from_signal, to_signal
from latentpress.nn.tiling import pad_to_hop

__all__ = ["ConvDecoder", "ConvEncoder", "ParallelDecoder", "from_signal", "pad_to_hop", "to_signal"]
