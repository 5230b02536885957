"""Everything that a model and a run are, as frozen dataclasses.

A configuration is data: it holds no tensor and imports no torch. `to_json`/`from_json` and
`from_toml` convert; unknown keys and values out of range are refused with a `ConfigError`. Where a
part has several kinds, its dataclass carries a literal `kind` and the field's type is their union.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeVar

from latentpress.errors import ConfigError

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
    "RunConfig",
    "StageConfig",
    "from_json",
    "from_toml",
    "override",
    "to_json",
]

T = TypeVar("T")


class _Strict:
    """Tells pydantic to refuse unknown keys, and numbers that are not finite."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "allow_inf_nan": False}


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


@dataclass(frozen=True, kw_only=True)
class ImageConfig(_Strict):
    """Images of 8 bits a channel: `channels` is 1 (grey) or 3 (RGB).

    `size` is the (height, width) in pixels in which new images are made unless one is asked for.
    """

    kind: Literal["image"] = "image"
    channels: Literal[1, 3] = 3
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        _require(all(1 <= side <= 65536 for side in self.size or ()), f"size: 1 to 65536, got {self.size}")


@dataclass(frozen=True, kw_only=True)
class ConvConfig(_Strict):
    """A convolutional encoder or decoder.

    `strides` are the factors of the strided convolutions, outermost (finest) first; their product is
    the hop length. After the i-th one come `depths[i]` residual blocks. `width` is the number of
    channels at the coarsest level; each finer level has half of the next one's, at least 32.
    The default is the shape of the VQ-VAE paper (arXiv 1711.00937, section 4.1).
    """

    kind: Literal["conv"] = "conv"
    strides: tuple[int, ...] = (2, 2)
    depths: tuple[int, ...] = (0, 2)
    width: int = 256
    norm: Literal["none", "channel"] = "none"

    def __post_init__(self) -> None:
        _require(1 <= len(self.strides) <= 8, f"strides: one to eight, got {len(self.strides)}")
        _require(
            all(1 <= s <= 8 and (s == 1 or s % 2 == 0) for s in self.strides),
            f"strides: each is 1, 2, 4, 6 or 8, got {self.strides}",
        )
        _require(
            len(self.depths) == len(self.strides) and all(0 <= d <= 64 for d in self.depths),
            f"depths: one number of residual blocks (0 to 64) a stride, got {self.depths} for {self.strides}",
        )
        _require(self.hop_length <= 256, f"strides: their product is at most 256, got {self.hop_length}")
        _require(1 <= self.width <= 8192, f"width: 1 to 8192, got {self.width}")

    @property
    def hop_length(self) -> int:
        """Items' samples (pixels a side) per latent position."""
        return math.prod(self.strides)


@dataclass(frozen=True, kw_only=True)
class GaussianConfig(_Strict):
    """Independent Gaussians; `scale` in units of the 0..255 range divided by 127.5, `None` to learn it."""

    kind: Literal["gaussian"] = "gaussian"
    scale: float | None = None

    def __post_init__(self) -> None:
        _require(self.scale is None or self.scale > 0, f"scale: positive or null, got {self.scale}")


@dataclass(frozen=True, kw_only=True)
class LaplaceConfig(_Strict):
    """Independent Laplace distributions; `scale` as for `GaussianConfig`."""

    kind: Literal["laplace"] = "laplace"
    scale: float | None = None

    def __post_init__(self) -> None:
        _require(self.scale is None or self.scale > 0, f"scale: positive or null, got {self.scale}")


@dataclass(frozen=True, kw_only=True)
class DiscretizedLogisticConfig(_Strict):
    """Logistic distributions integrated over each of the 256 values, the scale predicted per sample."""

    kind: Literal["discretized_logistic"] = "discretized_logistic"


LikelihoodConfig = GaussianConfig | LaplaceConfig | DiscretizedLogisticConfig


@dataclass(frozen=True, kw_only=True)
class MovingAverageConfig(_Strict):
    """The memory follows debiased moving averages of the sums and counts of the vectors that chose it."""

    kind: Literal["moving_average"] = "moving_average"
    decay: float = 0.99

    def __post_init__(self) -> None:
        _require(0 < self.decay < 1, f"decay: between 0 and 1, got {self.decay}")


@dataclass(frozen=True, kw_only=True)
class GradientMemoryConfig(_Strict):
    """The memory is a parameter, moved by `weight` * ||sg[z] - e||^2 through the optimiser."""

    kind: Literal["gradient"] = "gradient"
    weight: float = 1.0

    def __post_init__(self) -> None:
        _require(self.weight > 0, f"weight: positive, got {self.weight}")


MemoryConfig = MovingAverageConfig | GradientMemoryConfig


@dataclass(frozen=True, kw_only=True)
class CodebookConfig(_Strict):
    """The VQ-VAE's latent space: a memory of `num_partitions` x `codebook_size` vectors of `code_dim`.

    Every position has `num_partitions` latent variables, each with its own partition of the memory.
    A code counts as dead, and is revived, when its average usage falls below `revive_below` times
    the uniform share; 0 turns that off.
    """

    kind: Literal["codebook"] = "codebook"
    codebook_size: int = 512
    code_dim: int = 64
    num_partitions: int = 1
    distance: Literal["euclidean", "cosine"] = "euclidean"
    gradient: Literal["straight_through", "rotation", "index"] = "straight_through"
    memory: MemoryConfig = field(default_factory=MovingAverageConfig)
    commitment_weight: float = 0.25
    revive_below: float = 0.03

    def __post_init__(self) -> None:
        _require(2 <= self.codebook_size <= 65536, f"codebook_size: 2 to 65536, got {self.codebook_size}")
        _require(1 <= self.code_dim <= 4096, f"code_dim: 1 to 4096, got {self.code_dim}")
        _require(1 <= self.num_partitions <= 64, f"num_partitions: 1 to 64, got {self.num_partitions}")
        _require(0 <= self.commitment_weight <= 100, "commitment_weight: 0 to 100 (0.1 to 2.0 is usual)")
        _require(0 <= self.revive_below < 1, f"revive_below: 0 to 1, got {self.revive_below}")


@dataclass(frozen=True, kw_only=True)
class GridConfig(_Strict):
    """An autoregressive network over a grid of symbol tuples (see `latentpress.grid`).

    `reach` is the half width of the window of past positions that the first layer sees, `width` the
    channels of the residual stream, `depth` the gated layers, `head_width` the hidden units of the
    head of each tuple member. `training` says whether it is fitted after the codec or jointly with it.
    """

    kind: Literal["grid"] = "grid"
    width: int = 96
    depth: int = 6
    reach: int = 4
    dilations: tuple[int, ...] = (1, 2)
    embedding: int = 32
    head_width: int = 128
    class_conditional: bool = False
    training: Literal["after", "joint"] = "after"

    def __post_init__(self) -> None:
        for name in ("width", "embedding", "head_width"):
            _require(1 <= getattr(self, name) <= 4096, f"{name}: 1 to 4096, got {getattr(self, name)}")
        _require(0 <= self.depth <= 64, f"depth: 0 to 64, got {self.depth}")
        _require(1 <= self.reach <= 64, f"reach: 1 to 64, got {self.reach}")
        fits = 1 <= len(self.dilations) <= 64 and all(1 <= d <= 4096 for d in self.dilations)
        _require(fits, f"dilations: one to 64 of them, each 1 to 4096, got {self.dilations}")


@dataclass(frozen=True, kw_only=True)
class ModelConfig(_Strict):
    """One model: encoder + latent space + decoder + prior."""

    item: ImageConfig = field(default_factory=ImageConfig)
    encoder: ConvConfig = field(default_factory=ConvConfig)
    latents: CodebookConfig = field(default_factory=CodebookConfig)
    decoder: ConvConfig = field(default_factory=ConvConfig)
    likelihood: LikelihoodConfig = field(default_factory=GaussianConfig)
    prior: GridConfig | None = field(default_factory=GridConfig)
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        hops = (self.encoder.hop_length, self.decoder.hop_length)
        _require(hops[0] == hops[1], f"encoder and decoder hop lengths differ: {hops[0]} and {hops[1]}")
        _require(len(set(self.labels)) == len(self.labels), "labels: each may stand there once")
        _require(
            self.prior is None or not self.prior.class_conditional or len(self.labels) > 0,
            "prior.class_conditional: no classes to tell apart; put the items into one folder a class",
        )


@dataclass(frozen=True, kw_only=True)
class StageConfig(_Strict):
    """How one stage is trained. `crop` is the side of the random squares cut from images, in pixels.

    `learning_rate` rises linearly over `warmup` steps and falls to a hundredth along a half cosine.
    `average_decay` is the decay of the moving average of the weights that the finished model keeps;
    0 turns it off. `accumulate` micro-batches of `batch_size` items make one optimiser step.
    """

    batch_size: int = 128
    accumulate: int = 1
    crop: int = 128
    flip: bool = True
    optimizer: Literal["adam", "adamw"] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    warmup: int = 100
    clip_norm: float = 1.0
    average_decay: float = 0.999
    steps: int = 5000

    def __post_init__(self) -> None:
        for name in ("batch_size", "accumulate", "crop", "steps"):
            _require(getattr(self, name) >= 1, f"{name}: at least 1, got {getattr(self, name)}")
        _require(self.learning_rate > 0, f"learning_rate: positive, got {self.learning_rate}")
        _require(self.weight_decay >= 0, f"weight_decay: not negative, got {self.weight_decay}")
        _require(self.warmup >= 0, f"warmup: not negative, got {self.warmup}")
        _require(self.clip_norm > 0, f"clip_norm: positive, got {self.clip_norm}")
        _require(0 <= self.average_decay < 1, f"average_decay: 0 to 1, got {self.average_decay}")


@dataclass(frozen=True, kw_only=True)
class RunConfig(_Strict):
    """A model and the training of its stages. `codec_share` is the codec's part of `--time` or `--steps`."""

    model: ModelConfig = field(default_factory=ModelConfig)
    codec: StageConfig = field(default_factory=StageConfig)
    prior: StageConfig = field(default_factory=StageConfig)
    codec_share: float = 0.6

    def __post_init__(self) -> None:
        _require(0 < self.codec_share < 1, f"codec_share: between 0 and 1, got {self.codec_share}")


def to_json(config: object) -> str:
    """Returns any configuration here as JSON text, keys in the order of the dataclass.

    >>> print(to_json(ImageConfig(channels=1)))
    {
      "kind": "image",
      "channels": 1,
      "size": null
    }
    """
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise TypeError("to_json takes a configuration dataclass")
    return json.dumps(dataclasses.asdict(config), indent=2)


def from_json(kind: type[T], text: str | bytes) -> T:
    """Reads JSON text as a configuration of type `kind`; raises `ConfigError` for anything else.

    >>> from_json(ImageConfig, '{"channels": 1}')
    ImageConfig(kind='image', channels=1, size=None)
    """
    return _from_tree(kind, _parsed(json.loads, text, "JSON"))


def from_toml(kind: type[T], text: str) -> T:
    """Reads TOML text as a configuration of type `kind`; raises `ConfigError` for anything else."""
    return _from_tree(kind, _parsed(tomllib.loads, text, "TOML"))


def override(config: T, settings: Mapping[str, Any]) -> T:
    """Returns `config` with dotted keys replaced, their values as in JSON (or plain text).

    A key that ends in `kind` puts that kind's defaults into its section; the other keys of the call
    then set fields of the new kind, in whatever order they come.

    >>> override(ModelConfig(), {"latents.codebook_size": "1024"}).latents.codebook_size
    1024
    >>> override(ModelConfig(), {"likelihood.scale": "0.1", "likelihood.kind": "laplace"}).likelihood
    LaplaceConfig(kind='laplace', scale=0.1)
    """
    tree = json.loads(to_json(config))
    fresh: set[str] = set()  # sections of a new kind: only the reader knows what their fields are
    for key, value in sorted(settings.items(), key=lambda setting: not _is_kind(setting[0])):
        section, _, name = key.rpartition(".")
        node, new = _section(tree, section, key), _value(value)
        if _is_kind(key) and new != node.get("kind"):
            node.clear()
            fresh.add(section)
        elif name not in node and section not in fresh:
            raise ConfigError(f"no setting {key!r}; here are: {', '.join(node)}")
        node[name] = new
    return _from_tree(type(config), tree)


def _is_kind(key: str) -> bool:
    return key.rpartition(".")[2] == "kind"


def _section(tree: dict[str, Any], path: str, key: str) -> dict[str, Any]:
    """Returns the section at `path`; a part that is null comes into being when its kind is set."""
    node = tree
    for part in path.split(".") if path else ():
        if _is_kind(key) and part in node and node[part] is None:
            node[part] = {}
        node = node.get(part)
        if not isinstance(node, dict):
            raise ConfigError(f"no setting {key!r}: there is no section {part!r}")
    return node


def _parsed(parse: Callable[[Any], object], text: str | bytes, language: str) -> object:
    try:
        return parse(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"not {language}: {error}") from None


def _value(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


@functools.cache
def _adapter(kind: type) -> Any:
    from pydantic import TypeAdapter  # slow to import, so not above

    return TypeAdapter(kind)


def _from_tree(kind: type[T], tree: object) -> T:
    from pydantic import ValidationError

    try:
        return _adapter(kind).validate_python(tree)
    except ValidationError as error:
        raise ConfigError(_first_problem(error.errors(), kind.__name__)) from None


def _first_problem(errors: Sequence[Mapping[str, Any]], name: str) -> str:
    """Words the first problem; of a union, that of the kind which was asked for."""
    others = {
        e["loc"][:-1]: e["ctx"]["expected"] for e in errors if e["loc"][-1:] == ("kind",) and "ctx" in e
    }
    asked_for = [e for e in errors if not any(e["loc"][: len(other)] == other for other in others)]
    first = (asked_for or errors)[0]
    problem = first["msg"].removeprefix("Value error, ")
    if first["type"] == "unexpected_keyword_argument":
        problem = "there is no such setting"
    elif not asked_for:
        problem = f"should be one of {', '.join(others.values())}"
    path = [str(part) for part in first["loc"] if not str(part).endswith("Config")]
    return f"{'.'.join(path) or name}: {problem}"
