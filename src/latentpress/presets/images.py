"""Presets for images."""

from latentpress.config import (
    CodebookConfig,
    ConvConfig,
    GridConfig,
    ModelConfig,
    PixelsConfig,
    RunConfig,
    StageConfig,
)

__all__ = ["image_lossless", "images", "images_small", "photos", "tiny"]


def image_lossless() -> RunConfig:
    """Lossless pressing of small pictures: few codes that say what is there, and a network for the pixels.

    A code beside the pixels costs more than it saves unless it spans many of them: hence a hop of 8. A
    small network in many small steps reaches further in half an hour on two cores than a large one.
    """
    conv = ConvConfig(strides=(2, 2, 2), depths=(0, 0, 1), width=96)
    return RunConfig(
        model=ModelConfig(
            encoder=conv,
            decoder=conv,
            latents=CodebookConfig(codebook_size=256, code_dim=8),
            prior=GridConfig(width=48, depth=3, reach=3, embedding=24),
            pixels=PixelsConfig(width=64, depth=4, reach=3, embedding=24, head_width=96),
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
        model=ModelConfig(
            encoder=conv,
            decoder=conv,
            latents=CodebookConfig(codebook_size=512, code_dim=16),
            prior=GridConfig(width=96, depth=5, reach=5, embedding=24),
        ),
        codec=StageConfig(batch_size=32, crop=32, learning_rate=2e-3, steps=25_000),
        prior=StageConfig(batch_size=32, crop=32, learning_rate=2e-3, weight_decay=0.01, steps=12_000),
    )


def photos() -> RunConfig:
    """Photographs of any size: two codes for every 8 x 8 pixels."""
    conv = ConvConfig(strides=(2, 2, 2), depths=(0, 1, 2), width=128)
    return RunConfig(
        model=ModelConfig(
            encoder=conv,
            decoder=conv,
            latents=CodebookConfig(codebook_size=512, code_dim=16, num_partitions=2),
            prior=GridConfig(width=96, depth=5, reach=4, embedding=32),
        ),
        codec=StageConfig(batch_size=16, crop=64, learning_rate=1.5e-3, steps=12_000),
        prior=StageConfig(batch_size=4, crop=256, learning_rate=2e-3, weight_decay=0.01, steps=4_000),
    )


def tiny() -> RunConfig:
    """A model that learns something in a minute or two on two cores: for a first look and for tests."""
    conv = ConvConfig(strides=(2, 2, 2), depths=(0, 0, 1), width=96)
    return RunConfig(
        model=ModelConfig(
            encoder=conv,
            decoder=conv,
            latents=CodebookConfig(codebook_size=256, code_dim=8, num_partitions=2),
            prior=GridConfig(width=48, depth=2, reach=3, dilations=(1,), embedding=16, head_width=64),
        ),
        codec=StageConfig(batch_size=16, crop=64, learning_rate=2e-3, average_decay=0.99, steps=1000),
        prior=StageConfig(batch_size=4, crop=192, learning_rate=3e-3, average_decay=0.98, steps=200),
        codec_share=0.75,
    )
