"""Everything that a model and a run are, as frozen dataclasses.

A configuration is data: it holds no tensor and imports no torch. `to_json`/`from_json` and
`from_toml` convert; unknown keys and values out of range are refused with a `ConfigError`. Where a
part has several kinds, its dataclass carries a literal `kind` and the field's type is their union.
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
    VarianceBoundConfig,
    VarianceRatioConfig,
)
from latentpress.config.networks import (
    AutoregressiveDecoderConfig,
    CausalConfig,
    ConvConfig,
    CountedDecoderConfig,
    DiscretizedLogisticConfig,
    GaussianConfig,
    HalfName,
    LabelConfig,
    LaplaceConfig,
    LikelihoodConfig,
    ParallelDecoderConfig,
    label_sizes,
)
from latentpress.config.reading import from_json, from_toml, override, to_json
from latentpress.config.runs import AnyModelConfig, RunConfig, StageConfig
from latentpress.config.vqvae import (
    CodebookConfig,
    CodeVectorsConfig,
    EMAConfig,
    LearnedConfig,
    PriorConfig,
    VQVAEConfig,
)

__all__ = [
    "AR1Config",
    "AnnealedObjectiveConfig",
    "AnticausalConfig",
    "AnyModelConfig",
    "AutoregressiveDecoderConfig",
    "AuxiliaryConfig",
    "BetaObjectiveConfig",
    "CausalConfig",
    "CodeVectorsConfig",
    "CodebookConfig",
    "ConvConfig",
    "CountedDecoderConfig",
    "DeltaVAEConfig",
    "DiscretizedLogisticConfig",
    "EMAConfig",
    "ElboObjectiveConfig",
    "FreeBitsObjectiveConfig",
    "GaussianConfig",
    "GaussianLatentsConfig",
    "HalfName",
    "LabelConfig",
    "LaplaceConfig",
    "LearnedConfig",
    "LikelihoodConfig",
    "MeanBoundConfig",
    "ObjectiveConfig",
    "ParallelDecoderConfig",
    "PlainGaussianConfig",
    "PriorConfig",
    "RecurrentEncoderConfig",
    "RunConfig",
    "StageConfig",
    "VQVAEConfig",
    "VarianceBoundConfig",
    "VarianceRatioConfig",
    "from_json",
    "from_toml",
    "label_sizes",
    "override",
    "to_json",
]
