"""Presets for delta-VAEs: images of one size, and texts."""

from latentpress.config import (
    AnticausalConfig,
    AR1Config,
    AuxiliaryConfig,
    CommittedModelConfig,
    ImageConfig,
    RecurrentEncoderConfig,
    RunConfig,
    SequenceDecoderConfig,
    StageConfig,
    TextConfig,
)

__all__ = ["delta_images", "delta_text", "text"]


def delta_images() -> RunConfig:
    """Small pictures of one size: a latent number a row, which commits about 11 nats over 28 rows."""
    return RunConfig(
        model=CommittedModelConfig(
            item=ImageConfig(channels=1),
            encoder=AnticausalConfig(stride=1, width=16, depth=3, reach=2, embedding=8, hidden=96),
            latents=AR1Config(channels=1, alpha=0.95),
            decoder=SequenceDecoderConfig(width=32, depth=4, reach=3, embedding=24, head_width=64),
            auxiliary=AuxiliaryConfig(width=48),
        ),
        codec=StageConfig(batch_size=8, flip=False, learning_rate=2e-3, weight_decay=0.02, steps=8_000),
        prior=StageConfig(
            batch_size=128, flip=False, learning_rate=3e-3, average_decay=0.99, clip_norm=10.0, steps=1_000
        ),
        codec_share=0.93,
    )


def delta_text() -> RunConfig:
    """Texts with a latent number for every 128 bytes, read by an LSTM; windows of 512 bytes."""
    base = text()
    return RunConfig(
        model=CommittedModelConfig(
            item=TextConfig(),
            encoder=RecurrentEncoderConfig(stride=128, width=128),
            latents=AR1Config(channels=1, alpha=0.95),
            decoder=base.model.decoder,  # type: ignore[arg-type]
            auxiliary=AuxiliaryConfig(width=48),
        ),
        codec=base.codec,
        prior=StageConfig(
            batch_size=32, crop=512, learning_rate=3e-3, average_decay=0.99, clip_norm=10.0, steps=500
        ),
        codec_share=0.95,
    )


def text() -> RunConfig:
    """Texts pressed without losing a byte: the byte decoder alone, which costs no latents."""
    return RunConfig(
        model=CommittedModelConfig(
            item=TextConfig(),
            latents=None,
            auxiliary=None,
            decoder=SequenceDecoderConfig(
                width=96,
                depth=8,
                reach=6,
                dilations=(1, 2, 4, 8, 16, 32, 64, 128),
                embedding=48,
                head_width=160,
            ),
        ),
        codec=StageConfig(
            batch_size=16, crop=512, learning_rate=3e-3, weight_decay=0.02, average_decay=0.998, steps=10_000
        ),
    )
