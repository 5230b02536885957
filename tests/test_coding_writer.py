"""Archives by a writer that was made from docs/archive.md alone are read like our own."""

import ast
from pathlib import Path

import numpy as np
import pytest

import lpz_writer
from latentpress.coding import inspect_archive
from latentpress.errors import ArchiveError
from latentpress.press import decode_archive, decompress, verify_archive
from lpz_writer import pack_image, pack_text, write
from small.archives import codec

TEXTS = {b"a.txt": b"abc" * 40, b"b/caf\xe9?.txt": bytes(range(256)), b"empty.txt": b"", b"10.txt": b"x"}


def texts(**more: object) -> bytes:
    items = {name: ((len(data),), data) for name, data in TEXTS.items()}
    return write("text", 1, items, {b"a.txt": pack_text(TEXTS[b"a.txt"], (120,))}, more)


def test_the_writer_is_independent() -> None:
    tree = ast.parse(Path(lpz_writer.__file__).read_text())
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not any(str(module).startswith("latentpress") for module in modules)


@pytest.mark.parametrize("more", [{}, {"future": [1, b"x", "y"]}, {"prior_id": bytes(16)}], ids=str)
def test_texts(more: dict[str, object], tmp_path: Path) -> None:
    data, model = texts(**more), codec("alone", "text", "autoregressive")
    wanted = {name.decode("utf-8", "surrogateescape"): text for name, text in TEXTS.items()}
    assert {name: samples.tobytes() for name, samples in decode_archive(data, model)} == wanted
    assert decompress(data, model, tmp_path).items == 4
    assert {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*.txt")} == wanted
    assert verify_archive(data, model).lossless
    info = inspect_archive(data)
    assert [item.name for item in info.items] == list(wanted) and info.fallback == 3


def test_images(tmp_path: Path) -> None:
    model = codec("vq", "colour")
    noise = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    flat = np.full((30, 20, 3), 77, np.uint8)
    items = {b"noise.png": ((9, 7), noise.tobytes()), b"flat.png": ((30, 20), flat.tobytes())}
    data = write("image", 3, items, {b"flat.png": pack_image(flat.tobytes(), (30, 20)) + b"ignored"})
    restored = dict(decode_archive(data, model))
    assert np.array_equal(restored["noise.png"], noise) and np.array_equal(restored["flat.png"], flat)


@pytest.mark.parametrize(
    "more",
    [
        {"kind": "Text"},
        {"channels": 0},
        {"segment": 32},
        {"residual": 2},
        {"content": "other"},
        {"decoder_id": bytes(15)},
        {"labels": 65},
        {"seed": 1},
        {"model": "a\nb"},
        {"code_alphabets": [1]},
    ],
    ids=str,
)
def test_what_the_page_forbids_is_refused(more: dict[str, object]) -> None:
    with pytest.raises(ArchiveError):
        inspect_archive(texts(**more))
