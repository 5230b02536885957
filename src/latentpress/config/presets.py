"""Ready configurations: functions without arguments that return a `RunConfig`.

>>> sorted(PRESETS)[:5]
['delta-images', 'delta-parallel', 'delta-text', 'image-lossless', 'images']
>>> preset("delta-images").model.latents.alpha
0.95
"""

from dataclasses import replace

from latentpress.config.deltavae import (
    AnticausalConfig,
    AR1Config,
    AuxiliaryConfig,
    DeltaVAEConfig,
    RecurrentEncoderConfig,
)
from latentpress.config.networks import (
    AutoregressiveDecoderConfig,
    CausalConfig,
    ConvConfig,
    CountedDecoderConfig,
    DiscretizedLogisticConfig,
    ParallelDecoderConfig,
)
from latentpress.config.runs import RunConfig, StageConfig
from latentpress.config.vqvae import CodebookConfig, CountedPriorConfig, PriorConfig, VQVAEConfig
from latentpress.errors import ConfigError
from latentpress.items import Image, Text

__all__ = ["PRESETS", "preset"]


def image_lossless() -> RunConfig:
    """Lossless compression of small pictures: few codes for what is there, and an autoregressive decoder.

    A code costs more than it saves unless it spans many pixels: hence a hop of 8. A small network in many
    small steps reaches further in half an hour on two cores than a large one.
    """
    conv = ConvConfig(strides=(2, 2, 2), depths=(0, 0, 1), width=96)
    network = CausalConfig(width=64, depth=4, radius=3, embedding=24, head_width=96)
    return RunConfig(
        model=VQVAEConfig(
            encoder=conv,
            latents=CodebookConfig(codebook_size=256, code_dim=8),
            parallel=ParallelDecoderConfig(network=conv),
            autoregressive=AutoregressiveDecoderConfig(
                network=network, residual=True, map_width=128, map_channels=24, training="after"
            ),
            prior=PriorConfig(network=CausalConfig(width=48, depth=3, radius=3, embedding=24)),
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
            latents=CodebookConfig(codebook_size=512, code_dim=16),
            parallel=ParallelDecoderConfig(network=conv),
            prior=PriorConfig(network=CausalConfig(width=96, depth=5, radius=5, embedding=24)),
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
            latents=CodebookConfig(codebook_size=512, code_dim=16, num_codebooks=2),
            parallel=ParallelDecoderConfig(network=conv),
            prior=CountedPriorConfig(network=CausalConfig(width=96, depth=5, radius=4, embedding=32)),
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
            latents=CodebookConfig(codebook_size=256, code_dim=8, num_codebooks=2),
            parallel=ParallelDecoderConfig(network=conv),
            prior=CountedPriorConfig(),
        ),
        codec=StageConfig(batch_size=16, crop=64, learning_rate=2e-3, average_decay=0.99, steps=1000),
        prior=StageConfig(crop=192),  # the size of new pictures, at most
    )


def vq_autoregressive() -> RunConfig:
    """Small pictures by an autoregressive decoder alone, trained jointly with the encoder and the codebook.

    Its codes say what is in a picture, and the decoder samples how it looks.
    """
    network = CausalConfig(width=48, depth=4, radius=3, embedding=24, head_width=96)
    return RunConfig(
        model=VQVAEConfig(
            encoder=ConvConfig(strides=(2, 2, 2), depths=(0, 0, 1), width=96),
            latents=CodebookConfig(codebook_size=256, code_dim=16),
            parallel=None,
            autoregressive=AutoregressiveDecoderConfig(network=network),
            prior=PriorConfig(network=CausalConfig(width=48, depth=3, radius=3, embedding=24)),
        ),
        codec=StageConfig(batch_size=8, crop=32, learning_rate=2e-3, weight_decay=0.01, steps=12_000),
        prior=StageConfig(batch_size=32, crop=32, learning_rate=2e-3, weight_decay=0.01, steps=4_000),
        codec_share=0.85,
    )


def delta_images() -> RunConfig:
    """Small pictures of one size: a latent number a row, which commits about 11 nats over 28 rows."""
    layers = CausalConfig(width=16, depth=3, radius=2, embedding=8)
    network = CausalConfig(width=32, depth=4, radius=3, embedding=24, head_width=64)
    return RunConfig(
        model=DeltaVAEConfig(
            item=Image(channels=1),
            encoder=AnticausalConfig(hop=(1,), network=layers, hidden=96),
            latents=AR1Config(channels=1, alpha=0.95),
            autoregressive=AutoregressiveDecoderConfig(network=network),
            auxiliary=AuxiliaryConfig(width=48),
        ),
        codec=StageConfig(batch_size=8, flip=False, learning_rate=2e-3, weight_decay=0.02, steps=8_000),
        prior=StageConfig(
            batch_size=128, flip=False, learning_rate=3e-3, average_decay=0.99, clip_norm=10.0, steps=1_000
        ),
        codec_share=0.93,
    )


def delta_parallel() -> RunConfig:
    """As `delta_images`, with a parallel decoder too: two latent numbers for every 4 x 4 pixels."""
    base = delta_images()
    conv = ConvConfig(strides=(2, 2), depths=(0, 1), width=64)
    model = replace(
        base.model,
        encoder=replace(base.model.encoder, hop=(4, 4)),
        latents=AR1Config(channels=2, alpha=0.95),
        parallel=ParallelDecoderConfig(network=conv, likelihood=DiscretizedLogisticConfig()),
    )
    return replace(base, model=model)


def text() -> RunConfig:
    """Texts, restored to the byte: contexts counted in the training texts, which takes a minute or two."""
    model = DeltaVAEConfig(item=Text(), latents=None, auxiliary=None, autoregressive=CountedDecoderConfig())
    return RunConfig(model=model, codec=StageConfig(crop=1024))  # the size of new texts, at most


def photos_lossless() -> RunConfig:
    """Photographs, restored to the sample: regressions and counted contexts, learned in a minute or two."""
    model = DeltaVAEConfig(item=Image(), latents=None, auxiliary=None, autoregressive=CountedDecoderConfig())
    return RunConfig(model=model, codec=StageConfig(crop=64))  # the size of new pictures, at most


def text_network() -> RunConfig:
    """Texts, restored to the byte: a causal network over the bytes, which costs no latents."""
    dilations = (1, 2, 4, 8, 16, 32, 64, 128)
    network = CausalConfig(width=96, depth=8, radius=6, dilations=dilations, embedding=48, head_width=160)
    decoder = AutoregressiveDecoderConfig(network=network)
    return RunConfig(
        model=DeltaVAEConfig(item=Text(), latents=None, auxiliary=None, autoregressive=decoder),
        codec=StageConfig(
            batch_size=16, crop=512, learning_rate=3e-3, weight_decay=0.02, average_decay=0.998, steps=10_000
        ),
    )


def delta_text() -> RunConfig:
    """As `text_network`, with a latent number for every 128 bytes, read by an LSTM; windows of 512 bytes."""
    base = text_network()
    model = replace(
        base.model,
        encoder=RecurrentEncoderConfig(hop=(128,), width=128),
        latents=AR1Config(channels=1, alpha=0.95),
        auxiliary=AuxiliaryConfig(width=48),
    )
    prior = StageConfig(
        batch_size=32, crop=512, learning_rate=3e-3, average_decay=0.99, clip_norm=10.0, steps=500
    )
    return replace(base, model=model, prior=prior, codec_share=0.95)


_VQ_VAES = (images, images_small, photos, tiny, image_lossless, vq_autoregressive)
_DELTA_VAES = (delta_images, delta_parallel, delta_text, text, text_network, photos_lossless)

PRESETS = {make.__name__.replace("_", "-"): make for make in (*_VQ_VAES, *_DELTA_VAES)}


def preset(name: str) -> RunConfig:
    """Returns the configuration called `name`; raises `ConfigError` where there is none."""
    if name not in PRESETS:
        raise ConfigError(f"no preset {name!r}; here are: {', '.join(PRESETS)}")
    return PRESETS[name]()
