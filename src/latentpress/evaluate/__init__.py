"""How good a model is: distortion, rates, and other codecs at equal bytes.

`metrics` measures distortion, `codecs` finds another codec's result for given bytes, `comparison` puts
it beside an archive, `rates` asks the model what items cost, `evaluation` runs it all into a `results`
dataclass, and `report` writes that as one HTML file. `lossless` measures what a model makes of items
without losing a sample, beside its `peers`. `diagnosis` and `codebook_diagnosis` say whether a model's
latents are in use, on items that `gathering` takes from the data.
"""

from latentpress.evaluate.codecs import available, find_codec
from latentpress.evaluate.comparison import Comparison, RatePoint
from latentpress.evaluate.evaluation import Progress, evaluate
from latentpress.evaluate.lossless import LosslessEvaluation, evaluate_lossless
from latentpress.evaluate.metrics import Quality
from latentpress.evaluate.results import CodeStatistics, Evaluation, ItemResult

__all__ = [
    "CodeStatistics",
    "Comparison",
    "Evaluation",
    "ItemResult",
    "LosslessEvaluation",
    "Progress",
    "Quality",
    "RatePoint",
    "available",
    "evaluate",
    "evaluate_lossless",
    "find_codec",
]
