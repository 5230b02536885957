"""Trainings on next to nothing: a single image of one position, samples and codes."""

from pathlib import Path

import numpy as np
import pytest

from latentpress.cli import main
from workplace import DELTA, LOSSLESS, QUICK, read_png, write_png

LIMITED = ("--steps=4", *(f"--set={stage}.flip=true" for stage in ("codec", "prior", "decoder")))
COLOUR = "--set=model.item.channels=3"


@pytest.mark.parametrize("size", [1, 8])
@pytest.mark.parametrize("options", [QUICK, LOSSLESS, (*DELTA, COLOUR)], ids=["tiny", "lossless", "delta"])
def test_one_position_is_enough(options: tuple[str, ...], size: int, tmp_path: Path) -> None:
    pixels = np.arange(size * size * 3).reshape(size, size, 3).astype(np.uint8)
    write_png(tmp_path / "in" / "a.png", pixels)
    model, archive, back = (str(tmp_path / name) for name in ("model", "x.lpz", "back"))
    assert main(["train", str(tmp_path / "in"), "-o", model, *options, *LIMITED]) == 0
    assert main(["compress", str(tmp_path / "in"), "-m", model, "-o", archive]) == 0
    assert main(["decompress", archive, "-m", model, "-o", back]) == 0
    assert read_png(tmp_path / "back" / "a.png").shape == pixels.shape
