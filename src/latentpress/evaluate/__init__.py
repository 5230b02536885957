"""How good a model is: bytes, distortion, other codecs, and whether its latents are in use.

    evaluation.py   `evaluate`: compresses, restores and measures; results.py: what it finds
    quality.py      distortion: PSNR for all, SSIM and SI-SNR where the axes allow it
    comparison.py   conventional codecs at equal bytes, or without loss
    report.py       an evaluation as one HTML page
    diagnosis.py    `diagnose`: what latents cost, and what the decoder makes of them

It needs the extra `latentpress[evaluate]`.
"""

from latentpress.evaluate.comparison import Comparison, RatePoint
from latentpress.evaluate.diagnosis import Diagnosis, diagnose
from latentpress.evaluate.evaluation import Progress, evaluate
from latentpress.evaluate.probe import Probe
from latentpress.evaluate.quality import Quality
from latentpress.evaluate.results import Evaluation, ItemResult, LossyResult

__all__ = [
    "Comparison",
    "Diagnosis",
    "Evaluation",
    "ItemResult",
    "LossyResult",
    "Probe",
    "Progress",
    "Quality",
    "RatePoint",
    "diagnose",
    "evaluate",
]
