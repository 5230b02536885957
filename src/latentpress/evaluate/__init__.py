"""How good a model is: bytes, distortion, other codecs, and whether its latents are in use.

It needs the extra `latentpress[evaluate]`.
"""

from latentpress.evaluate.comparison import Comparison, RatePoint
from latentpress.evaluate.diagnosis import Diagnosis, diagnose
from latentpress.evaluate.evaluation import Progress, evaluate
from latentpress.evaluate.probe import Probe
from latentpress.evaluate.quality import Quality
from latentpress.evaluate.results import Evaluation, ItemResult, LossyResult

__all__ = ["Comparison", "Diagnosis", "Evaluation", "ItemResult", "LossyResult", "Probe", "Progress"]
__all__ += ["Quality", "RatePoint", "diagnose", "evaluate"]
