"""Lossless evaluation: sizes are those of real files, and every pixel is compared."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from latentpress.data.sources import Source
from latentpress.errors import ItemError
from latentpress.evaluate import evaluate_lossless, lossless
from latentpress.press import compress
from lossless_parts import dim, items, lossless_codec, source
from text_parts import text_codec


def test_the_figures_are_those_of_the_archive_and_of_real_files():
    model, images = lossless_codec(), items()
    found = evaluate_lossless(model, source(images))
    archive = io.BytesIO()
    summary = compress(model, source(images), archive, lossless=True)
    assert found.archive_bytes == summary.archive_bytes and found.num_whole == summary.whole == 3
    assert found.num_dims == sum(image.size for image in images.values())
    assert 0 < found.codes_bytes + found.pixels_bytes + found.whole_bytes < found.archive_bytes
    sizes = {(other.codec, other.layout): other.size_bytes for other in found.others}
    png = [io.BytesIO() for _ in images]
    for image, file in zip(images.values(), png, strict=True):
        Image.fromarray(image).save(file, "PNG", optimize=True)
    assert sizes["png", "files"] == sum(len(file.getvalue()) for file in png)
    assert set(sizes) - {("jxl", "files")} == {("png", "files"), ("webp", "files")}
    assert json.loads(found.to_json())["bits_per_dim"] == 8 * found.archive_bytes / found.num_dims


def test_images_of_one_size_are_compared_as_a_mosaic_too():
    images = {f"{i}.png": dim(i, 8, 8, 1) for i in range(5)}
    found = evaluate_lossless(lossless_codec(1, 1, use_codes=False), source(images))
    sizes = {(other.codec, other.layout): other.size_bytes for other in found.others}
    assert sizes["webp", "mosaic"] < sizes["webp", "files"] and sizes["png", "mosaic"] < sizes["png", "files"]
    assert not found.uses_codes and found.codes_bytes == 0


def test_nothing_to_evaluate_on_is_an_error():
    with pytest.raises(ItemError, match="nothing to evaluate on"):
        evaluate_lossless(lossless_codec(), Source(()))


def test_texts_without_a_byte_are_an_error():
    model = text_codec()
    empty = {name: np.zeros((0, 1), np.uint8) for name in ("a.txt", "b.txt")}
    with pytest.raises(ItemError, match="no byte to measure"):
        evaluate_lossless(model, source(empty))


def test_pixels_that_change_on_the_way_are_an_error(monkeypatch):
    images = {"a.png": dim(0, 8, 8)}

    def changed(archive, model):
        yield "a.png", np.zeros((8, 8, 3), np.uint8)

    monkeypatch.setattr(lossless, "decode_archive", changed)
    with pytest.raises(ItemError, match="does not give back"):
        evaluate_lossless(lossless_codec(), source(images))
