"""Everything that a model and a run are, as frozen dataclasses.

A configuration is data: it holds no tensor and imports no torch. `to_json`/`from_json` and
`from_toml` convert; unknown keys and values out of range are refused with a `ConfigError`. Where a
part has several kinds, its dataclass carries a literal `kind` and the field's type is their union.

    models.py    what a model is made of
    runs.py      how it is trained
    reading.py   configurations as text
"""

from latentpress.config.models import (
    CodebookConfig,
    ConvConfig,
    DiscretizedLogisticConfig,
    GaussianConfig,
    GradientMemoryConfig,
    GridConfig,
    ImageConfig,
    LaplaceConfig,
    LikelihoodConfig,
    MemoryConfig,
    ModelConfig,
    MovingAverageConfig,
    PixelsConfig,
)
from latentpress.config.reading import from_json, from_toml, override, to_json
from latentpress.config.runs import RunConfig, StageConfig

__all__ = [
    "CodebookConfig",
    "ConvConfig",
    "DiscretizedLogisticConfig",
    "GaussianConfig",
    "GradientMemoryConfig",
    "GridConfig",
    "ImageConfig",
    "LaplaceConfig",
    "LikelihoodConfig",
    "MemoryConfig",
    "ModelConfig",
    "MovingAverageConfig",
    "PixelsConfig",
    "RunConfig",
    "StageConfig",
    "from_json",
    "from_toml",
    "override",
    "to_json",
]
