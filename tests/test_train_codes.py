from itertools import islice

import numpy as np
import pytest
import torch

from latentpress.config import CodebookConfig, ConvConfig, VQVAEConfig
from latentpress.data.batches import Batches
from latentpress.data.loading import Pool, load_pool
from latentpress.data.sources import array_source
from latentpress.model import VQVAE, build
from latentpress.train.codes import EncodedBatches, LookedUpCodes, code_source


@pytest.fixture(scope="module")
def model() -> VQVAE:
    torch.manual_seed(0)
    conv = ConvConfig(width=32, depths=(0, 1))
    latents = CodebookConfig(codebook_size=16, code_dim=4)
    model = build(VQVAEConfig(encoder=conv, decoder=conv, latents=latents, prior=None))
    model.latents(model.encoder(torch.rand(8, 3, 16, 16) * 2 - 1))
    return model.eval()


@pytest.fixture(scope="module")
def pool() -> Pool:
    images = np.random.default_rng(0).integers(0, 256, (30, 10, 14, 3), np.uint8)
    return load_pool(array_source(images, labels=np.arange(30) % 3))


def batches_of(pool: Pool, *, crop: int = 16, flip: bool = True) -> Batches:
    return Batches(pool, batch_size=6, crop=crop, flip=flip, seed=0, multiple_of=4)


@pytest.mark.parametrize("flip", [True, False])
def test_looking_codes_up_gives_what_encoding_gives(model: VQVAE, pool: Pool, flip: bool):
    batches = batches_of(pool, flip=flip)
    streams = LookedUpCodes(model, batches).stream(3), EncodedBatches(model, batches).stream(3)
    for looked_up, encoded in islice(zip(*streams, strict=True), 6):
        assert torch.equal(looked_up.labels, encoded.labels)
        assert (looked_up.codes == encoded.codes).float().mean() > 0.999  # ties may fall otherwise


def test_codes_of_a_batch_depend_on_its_number_alone(model: VQVAE, pool: Pool):
    whole = list(islice(LookedUpCodes(model, batches_of(pool)).stream(0), 5))
    later = next(iter(LookedUpCodes(model, batches_of(pool)).stream(4)))
    assert torch.equal(later.codes, whole[4].codes) and torch.equal(later.labels, whole[4].labels)


@pytest.mark.parametrize(
    ("crop", "expected", "kind"),
    [(16, None, LookedUpCodes), (16, 10, LookedUpCodes), (16, 9, EncodedBatches), (8, None, EncodedBatches)],
)
def test_all_is_encoded_first_where_that_is_less_work(model, pool, crop: int, expected, kind: type):
    assert type(code_source(model, batches_of(pool, crop=crop), expected)) is kind
