"""The recipe of the VQ-VAE: codec, then prior, then decoder of pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from latentpress.config import StageConfig, VQVAEConfig
from latentpress.data.batches import Batch, Batches
from latentpress.data.loading import Pool
from latentpress.model import VQVAE, AnyModel
from latentpress.train.card import model_card
from latentpress.train.codes import code_source
from latentpress.train.loop import Limit, Stage
from latentpress.train.pixels import PixelStage
from latentpress.train.plan import STAGES, StageName, stage_config
from latentpress.train.pools import split
from latentpress.train.recipes import Judged, Setting
from latentpress.train.runs import Position
from latentpress.train.stages import CodecStage, PriorStage
from latentpress.train.validation import codec_figures, pixel_figures, prior_figures, sample_sheet

__all__ = ["CodebookRecipe"]


class CodebookRecipe:
    """See `latentpress.train.recipes.Recipe`."""

    def __init__(self, setting: Setting) -> None:
        assert isinstance(setting.config.model, VQVAEConfig) and isinstance(setting.pool, Pool)
        self.setting, self.model_config = setting, setting.config.model
        self.fitted: Mapping[StageName, str] = {"prior": "prior", "decoder": "pixels"}
        self.fixed: Sequence[str] = ("half", "item", "encoder", "latents", "decoder", "likelihood")
        self.settled: Mapping[StageName, Sequence[str]] = {"decoder": ("exact_prior",)}
        pixels = self.model_config.pixels
        self.needs_codec = pixels is None or pixels.use_codes
        self.pool, self.held_out = split(setting.pool)

    def stage(self, name: StageName, model: VQVAE, limit: Limit) -> Stage[Any]:
        """See `Recipe.stage`."""
        setting, hop = self.setting, model.hop_length
        config = stage_config(setting.config, name)
        batches = Batches(
            self.pool,
            batch_size=config.batch_size,
            crop=config.crop,
            flip=config.flip,
            seed=len(STAGES) * setting.seed + STAGES.index(name),
            multiple_of=1 if name == "decoder" else hop,
            corner_step=hop if name == "decoder" and self.needs_codec else 1,
            rank=setting.replicas.rank,
            world=setting.replicas.world,
        )
        if name == "codec":
            return CodecStage(model, config, batches)
        if name == "decoder":
            return PixelStage(model, config, batches)
        expected = None if limit.steps is None else limit.steps * config.accumulate
        return PriorStage(model, config, code_source(model, batches, expected))

    def live(self, name: str, model: VQVAE) -> tuple[Mapping[str, float], str | None]:
        """The codes' perplexity, and what to do where they are not in use."""
        if name != "codec":
            return {}, None
        usage = model.latents.usage()
        return {"perplexity": usage.perplexity}, usage.warning

    def judge(self, model: VQVAE, position: Position) -> Judged:
        """Figures on held-out items; while the codec changes, some of them with their reconstructions.

        Items are cut to the hop; for the decoder of pixels they are not.
        """
        config = stage_config(self.setting.config, position.stage)  # type: ignore[arg-type]
        batches = self._held_out_batches(config, model.hop_length)
        if not batches:
            return Judged()
        figures = codec_figures(model, batches)
        prior = self.model_config.prior
        joint = prior is not None and prior.training == "joint"
        if joint or position.stage == "prior" or model.exact_prior is not None:
            figures |= prior_figures(model, batches)
        if position.stage == "decoder":
            figures |= pixel_figures(model, self._held_out_batches(config, 1))
        return Judged(figures, sample_sheet(model, batches[0]) if position.stage == "codec" else None)

    def card(self, model: AnyModel, position: Position, figures: Mapping[str, float]) -> str:
        """See `Recipe.card`."""
        return model_card(self.model_config, self.pool, position.step, position.elapsed, figures)

    def _held_out_batches(self, config: StageConfig, multiple_of: int) -> list[Batch]:
        if self.held_out is None or not self.setting.replicas.first:
            return []
        size = min(config.batch_size, len(self.held_out))
        batches = Batches(
            self.held_out,
            batch_size=size,
            crop=config.crop,
            flip=False,
            seed=self.setting.seed,
            multiple_of=multiple_of,
        )
        return [batches.batch(step) for step in range(len(self.held_out) // size)]
