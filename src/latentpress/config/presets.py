"""Ready configurations: functions without arguments that return a `RunConfig`.

>>> sorted(PRESETS)
['delta-images', 'delta-text', 'image-lossless', 'images', 'images-small', 'photos', 'text', 'tiny']
>>> preset("delta-images").model.latents.alpha
0.95
"""

from collections.abc import Callable

from latentpress.config import (
    AnticausalConfig,
    AR1Config,
    AuxiliaryConfig,
    CausalConfig,
    CodebookConfig,
    ConvConfig,
    DeltaVAEConfig,
    ImageConfig,
    PixelsConfig,
    RecurrentEncoderConfig,
    RunConfig,
    SequenceDecoderConfig,
    StageConfig,
    TextConfig,
    VQVAEConfig,
)
from latentpress.errors import ConfigError

__all__ = [
    "PRESETS",
    "delta_images",
    "delta_text",
    "image_lossless",
    "images",
    "images_small",
    "photos",
    "preset",
    "text",
    "tiny",
]


def image_lossless() -> RunConfig:
    """Lossless pressing of small pictures: few codes that say what is there, and a network for the pixels.

    A code beside the pixels costs more than it saves unless it spans many of them: hence a hop of 8. A
    small network in many small steps reaches further in half an hour on two cores than a large one.
    """
    conv = ConvConfig(strides=(2, 2, 2), depths=(0, 0, 1), width=96)
    return RunConfig(
        model=VQVAEConfig(
            encoder=conv,
            decoder=conv,
            latents=CodebookConfig(codebook_size=256, code_dim=8),
            prior=CausalConfig(width=48, depth=3, radius=3, embedding=24),
            pixels=PixelsConfig(width=64, depth=4, radius=3, embedding=24, head_width=96),
        ),
        codec=StageConfig(batch_size=32, crop=64, learning_rate=2e-3, steps=5_000),
        prior=StageConfig(batch_size=32, crop=64, learning_rate=2e-3, weight_decay=0.01, steps=3_000),
        decoder=StageConfig(batch_size=4, crop=64, learning_rate=3e-3, weight_decay=0.01, steps=40_000),
        codec_share=0.7,
        decoder_share=0.85,
    )


def images() -> RunConfig:
    """The VQ-VAE paper's shape (arXiv 1711.00937, section 4.1): 512 codes at a quarter of each side."""
    return RunConfig(
        codec=StageConfig(batch_size=128, crop=128, learning_rate=2e-4, steps=250_000),
        prior=StageConfig(batch_size=32, crop=128, learning_rate=1e-3, steps=50_000),
    )


def images_small() -> RunConfig:
    """Pictures of about 32 x 32, one code for every 4 x 4 pixels: made for half an hour on two cores.

    Many small steps at a high rate reach further in that time than few large ones.
    """
    conv = ConvConfig(strides=(2, 2), depths=(0, 2), width=96)
    return RunConfig(
        model=VQVAEConfig(
            encoder=conv,
            decoder=conv,
            latents=CodebookConfig(codebook_size=512, code_dim=16),
            prior=CausalConfig(width=96, depth=5, radius=5, embedding=24),
        ),
        codec=StageConfig(batch_size=32, crop=32, learning_rate=2e-3, steps=25_000),
        prior=StageConfig(batch_size=32, crop=32, learning_rate=2e-3, weight_decay=0.01, steps=12_000),
    )


def photos() -> RunConfig:
    """Photographs of any size: two codes for every 8 x 8 pixels."""
    conv = ConvConfig(strides=(2, 2, 2), depths=(0, 1, 2), width=128)
    return RunConfig(
        model=VQVAEConfig(
            encoder=conv,
            decoder=conv,
            latents=CodebookConfig(codebook_size=512, code_dim=16, num_codebooks=2),
            prior=CausalConfig(width=96, depth=5, radius=4, embedding=32),
        ),
        codec=StageConfig(batch_size=16, crop=64, learning_rate=1.5e-3, steps=12_000),
        prior=StageConfig(batch_size=4, crop=256, learning_rate=2e-3, weight_decay=0.01, steps=4_000),
    )


def tiny() -> RunConfig:
    """A model that learns something in a minute or two on two cores: for a first look and for tests."""
    conv = ConvConfig(strides=(2, 2, 2), depths=(0, 0, 1), width=96)
    return RunConfig(
        model=VQVAEConfig(
            encoder=conv,
            decoder=conv,
            latents=CodebookConfig(codebook_size=256, code_dim=8, num_codebooks=2),
            prior=CausalConfig(width=48, depth=2, radius=3, dilations=(1,), embedding=16, head_width=64),
        ),
        codec=StageConfig(batch_size=16, crop=64, learning_rate=2e-3, average_decay=0.99, steps=1000),
        prior=StageConfig(batch_size=4, crop=192, learning_rate=3e-3, average_decay=0.98, steps=200),
        codec_share=0.75,
    )


def delta_images() -> RunConfig:
    """Small pictures of one size: a latent number a row, which commits about 11 nats over 28 rows."""
    return RunConfig(
        model=DeltaVAEConfig(
            item=ImageConfig(channels=1),
            encoder=AnticausalConfig(stride=1, width=16, depth=3, radius=2, embedding=8, hidden=96),
            latents=AR1Config(channels=1, alpha=0.95),
            decoder=SequenceDecoderConfig(width=32, depth=4, radius=3, embedding=24, head_width=64),
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
        model=DeltaVAEConfig(
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
        model=DeltaVAEConfig(
            item=TextConfig(),
            latents=None,
            auxiliary=None,
            decoder=SequenceDecoderConfig(
                width=96,
                depth=8,
                radius=6,
                dilations=(1, 2, 4, 8, 16, 32, 64, 128),
                embedding=48,
                head_width=160,
            ),
        ),
        codec=StageConfig(
            batch_size=16, crop=512, learning_rate=3e-3, weight_decay=0.02, average_decay=0.998, steps=10_000
        ),
    )


PRESETS: dict[str, Callable[[], RunConfig]] = {
    "delta-images": delta_images,
    "delta-text": delta_text,
    "image-lossless": image_lossless,
    "images": images,
    "images-small": images_small,
    "photos": photos,
    "text": text,
    "tiny": tiny,
}


def preset(name: str) -> RunConfig:
    """Returns the configuration called `name`; raises `ConfigError` where there is none."""
    if name not in PRESETS:
        raise ConfigError(f"no preset {name!r}; here are: {', '.join(PRESETS)}")
    return PRESETS[name]()
