"""The recipe of the delta-VAE: encoder, decoder and auxiliary prior together, then the latter refitted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import torch

from latentpress.config import AR1Config, DeltaVAEConfig, ImageConfig, RunConfig, StageConfig
from latentpress.data.batches import Batches
from latentpress.data.loading import Pool
from latentpress.data.symbols import ImageSymbols, SymbolBatch, TextSymbols
from latentpress.data.windows import TextPool, Windows
from latentpress.errors import ConfigError
from latentpress.latents import Posterior
from latentpress.latents.information import active_units, mutual_information_nats
from latentpress.latents.rates import alpha_for_rate
from latentpress.model import AnyModel, DeltaVAE
from latentpress.train.card import delta_card
from latentpress.train.committed import (
    AuxiliaryStage,
    DeltaVAEStage,
    SymbolSource,
    auxiliary_kl,
)
from latentpress.train.loop import Limit, Stage
from latentpress.train.plan import STAGES, StageName, stage_config
from latentpress.train.pools import split
from latentpress.train.recipes import Judged, Setting
from latentpress.train.runs import Position
from latentpress.train.texts import split_texts

__all__ = ["DeltaRecipe", "committing", "elbo_figures"]

_JUDGED_BYTES = 1 << 17  # of held-out texts
_COMMITS_NOTHING = (
    "items have one latent step, over which an AR(1) prior commits nothing; take a smaller "
    "model.encoder.stride, or longer windows (codec.crop)"
)


class DeltaRecipe:
    """See `latentpress.train.recipes.Recipe`."""

    def __init__(self, setting: Setting) -> None:
        assert isinstance(setting.config.model, DeltaVAEConfig)
        self.setting, self.model_config = setting, setting.config.model
        self.fitted: Mapping[StageName, str] = {"prior": "auxiliary"}
        self.fixed: Sequence[str] = ("half", "item", "encoder", "latents", "decoder")
        self.settled: Mapping[StageName, Sequence[str]] = {"prior": ("exact_decoder", "exact_encoder")}
        pool = setting.pool
        self.pool, self.held_out = split_texts(pool) if isinstance(pool, TextPool) else split(pool)

    def stage(self, name: StageName, model: DeltaVAE, limit: Limit) -> Stage[Any]:
        """See `Recipe.stage`."""
        config = stage_config(self.setting.config, name)
        seed = len(STAGES) * self.setting.seed + STAGES.index(name)
        source = self._source(
            self.pool, config, seed, self.setting.replicas.rank, self.setting.replicas.world
        )
        return (
            DeltaVAEStage(model, config, source) if name == "codec" else AuxiliaryStage(model, config, source)
        )

    def live(self, name: str, model: DeltaVAE) -> tuple[Mapping[str, float], str | None]:
        """No figures that the batches do not show; a warning where an AR(1) prior has one step to work on."""
        one = isinstance(self.model_config.latents, AR1Config) and _steps(self.setting.config) < 2
        return {}, _COMMITS_NOTHING if one and name == "codec" else None

    def judge(self, model: DeltaVAE, position: Position) -> Judged:
        """The ELBO and its parts on held-out items."""
        if self.held_out is None or not self.setting.replicas.first:
            return Judged()
        config = stage_config(self.setting.config, position.stage)  # type: ignore[arg-type]
        return Judged(elbo_figures(model, self._held_out_batches(self.held_out, config)))

    def card(self, model: AnyModel, position: Position, figures: Mapping[str, float]) -> str:
        """See `Recipe.card`."""
        return delta_card(self.model_config, len(self.pool), position.step, position.elapsed, figures)

    def _held_out_batches(self, pool: Pool | TextPool, config: StageConfig) -> list[SymbolBatch]:
        """Some of the held-out items, each once."""
        if isinstance(pool, TextPool):
            windows = Windows(pool, batch_size=1, window=config.crop, seed=0).per_epoch
            config = replace(config, batch_size=min(config.batch_size, windows))
            most = max(1, _JUDGED_BYTES // (config.crop * config.batch_size))
            count = min(windows // config.batch_size, most)
        else:
            config = replace(config, batch_size=min(config.batch_size, len(pool)))
            count = len(pool) // config.batch_size
        return list(islice(self._source(pool, config, self.setting.seed).stream(0), count))

    def _source(
        self, pool: Pool | TextPool, config: StageConfig, seed: int, rank: int = 0, world: int = 1
    ) -> SymbolSource:
        place = {"batch_size": config.batch_size, "seed": seed, "rank": rank, "world": world}
        if isinstance(pool, TextPool):
            return TextSymbols(Windows(pool, window=config.crop, **place))
        crop, flip = int(pool.shapes[0, 1:].max()), config.flip and pool is self.pool
        return ImageSymbols(Batches(pool, crop=crop, flip=flip, multiple_of=1, **place))


def committing(config: RunConfig, rate_bits: float) -> RunConfig:
    """`config` with the alpha that commits `rate_bits` an item: an image, or a window of text.

    Raises:
        ConfigError: the latents are not AR(1), or no alpha commits that rate.

    >>> from latentpress.config import AR1Config, DeltaVAEConfig, ImageConfig, RunConfig, StageConfig
    >>> config = committing(RunConfig(model=DeltaVAEConfig(), codec=StageConfig(crop=64)), 20.0)
    >>> round(config.model.latents.alpha, 4)
    0.7377
    """
    model = config.model
    if not isinstance(model, DeltaVAEConfig) or not isinstance(model.latents, AR1Config):
        raise ConfigError("a rate to commit is for delta-VAEs with model.latents.kind=ar1")
    alpha = alpha_for_rate(rate_bits * math.log(2), _steps(config), model.latents.channels)
    return replace(config, model=replace(model, latents=replace(model.latents, alpha=alpha)))


def _steps(config: RunConfig) -> int:
    """Latent steps of an image, or of a window of text."""
    model = config.model
    assert isinstance(model, DeltaVAEConfig)
    image = isinstance(model.item, ImageConfig)
    extent = model.item.size[0] if image and model.item.size else config.codec.crop  # type: ignore[index]
    return -(-extent // model.encoder.stride)


@torch.inference_mode()
def elbo_figures(model: DeltaVAE, batches: list[SymbolBatch]) -> dict[str, float]:
    """-ELBO in bits per dimension with both priors, and how much the latents say, in nats an item.

    The draws from the posterior are the same ones every time.
    """
    nats = kl = auxiliary = dims = 0.0
    count, parts = 0, []
    generator = torch.Generator().manual_seed(0)
    training = model.training
    model.eval()
    for batch in batches:
        batch = batch.to(model.device)
        noise = None
        if model.latents is not None:
            steps = -(-batch.symbols.shape[1] // model.hop[0])
            noise = torch.randn(len(batch.symbols), steps, model.latents.channels, generator=generator)
            noise = noise.to(model.device)
        elbo = model.elbo(batch.symbols, batch.mask, noise)
        count, dims = count + len(batch.symbols), dims + batch.dims
        nats, kl = nats + float(elbo.nll_nats.sum()), kl + float(elbo.kl_nats.sum())
        if elbo.z is not None and elbo.posterior is not None:
            parts.append(elbo)
            if model.auxiliary is not None:
                own = model.auxiliary.nll_nats(elbo.z, elbo.step_mask).mean()
                auxiliary += float(auxiliary_kl(elbo, own)) * len(elbo.z)
    model.train(training)
    figures = {"bits_per_dim": (nats + kl) / dims / math.log(2)}
    if not parts:
        return figures
    figures |= {"kl_nats": kl / count}
    if model.auxiliary is not None:
        figures |= {
            "auxiliary_kl_nats": auxiliary / count,
            "auxiliary_bits_per_dim": (nats + auxiliary) / dims / math.log(2),
        }
    joint = Posterior(
        torch.cat([elbo.posterior.mean for elbo in parts if elbo.posterior is not None]),
        torch.cat([elbo.posterior.log_variance for elbo in parts if elbo.posterior is not None]),
    )
    z = torch.cat([elbo.z for elbo in parts if elbo.z is not None])
    mask = torch.cat(
        [
            elbo.kl_nats.new_ones(1, z.shape[1]).bool().expand(len(elbo.kl_nats), -1)
            if elbo.step_mask is None
            else elbo.step_mask
            for elbo in parts
        ]
    )
    return figures | {
        "information_nats": float(mutual_information_nats(joint, z, mask)),
        "active_units": float(active_units(joint.mean, mask)),
    }
