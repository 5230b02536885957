"""Everything that a model and a run are, as frozen dataclasses.

A configuration is data: it holds no tensor and imports no torch. `to_json`/`from_json` and
`from_toml` convert; unknown keys and values out of range are refused with a `ConfigError`. Where a
part has several kinds, its dataclass carries a literal `kind` and the field's type is their union.

    models.py    what a VQ-VAE is made of
    committed.py what a delta-VAE is made of
    runs.py      how it is trained
    reading.py   configurations as text
"""

from latentpress.config.deltavae import (
    AnnealedObjectiveConfig,
    AnticausalConfig,
    AR1Config,
    AuxiliaryConfig,
    BetaObjectiveConfig,
    DeltaVAEConfig,
    ElboObjectiveConfig,
    FreeBitsObjectiveConfig,
    GaussianLatentsConfig,
    MeanBoundConfig,
    ObjectiveConfig,
    PlainGaussianConfig,
    RecurrentEncoderConfig,
    SequenceDecoderConfig,
    TextConfig,
    VarianceBoundConfig,
    VarianceRatioConfig,
)
from latentpress.config.reading import from_json, from_toml, override, to_json
from latentpress.config.runs import RunConfig, StageConfig
from latentpress.config.vqvae import (
    CausalConfig,
    CodebookConfig,
    CodeVectorsConfig,
    ConvConfig,
    DiscretizedLogisticConfig,
    EMAConfig,
    GaussianConfig,
    HalfName,
    ImageConfig,
    LaplaceConfig,
    LearnedConfig,
    LikelihoodConfig,
    PixelsConfig,
    VQVAEConfig,
)

__all__ = [
    "AR1Config",
    "AnnealedObjectiveConfig",
    "AnticausalConfig",
    "AuxiliaryConfig",
    "BetaObjectiveConfig",
    "CausalConfig",
    "CodeVectorsConfig",
    "CodebookConfig",
    "ConvConfig",
    "DeltaVAEConfig",
    "DiscretizedLogisticConfig",
    "EMAConfig",
    "ElboObjectiveConfig",
    "FreeBitsObjectiveConfig",
    "GaussianConfig",
    "GaussianLatentsConfig",
    "HalfName",
    "ImageConfig",
    "LaplaceConfig",
    "LearnedConfig",
    "LikelihoodConfig",
    "MeanBoundConfig",
    "ObjectiveConfig",
    "PixelsConfig",
    "PlainGaussianConfig",
    "RecurrentEncoderConfig",
    "RunConfig",
    "SequenceDecoderConfig",
    "StageConfig",
    "TextConfig",
    "VQVAEConfig",
    "VarianceBoundConfig",
    "VarianceRatioConfig",
    "from_json",
    "from_toml",
    "override",
    "to_json",
]
