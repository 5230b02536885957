"""New items from models.

codebook.py   codes from the prior, then the decoder: images of any size, and completions
delta.py      latents from the auxiliary prior or from AR(1), then the autoregressive decoder
"""

from latentpress.generate.codebook import Progress, generate
from latentpress.generate.delta import generate_delta

__all__ = ["Progress", "generate", "generate_delta"]
