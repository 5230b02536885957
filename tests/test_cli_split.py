"""Halves on the command line."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from latentpress.cli import main
from workplace import QUICK, Workplace, read_png


@pytest.fixture(scope="module")
def halves(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("halves")
    assert main(["split", str(workplace.folder / "model"), "-o", str(folder)]) == 0
    return folder


def test_one_half_compresses_and_the_other_restores(
    halves: Path, workplace: Workplace, tmp_path: Path
) -> None:
    photos, archive = str(workplace.folder / "photos"), str(tmp_path / "x.lpz")
    assert main(["compress", photos, "-m", str(halves / "encoder"), "-o", archive]) == 0
    for model, back in ((halves / "decoder", "half"), (workplace.folder / "model", "whole")):
        assert main(["decompress", archive, "-m", str(model), "-o", str(tmp_path / back)]) == 0
    for name in workplace.names:
        assert np.array_equal(read_png(tmp_path / "half" / name), read_png(tmp_path / "whole" / name))


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_nothing_is_trained_on_half_a_model(
    half: str, halves: Path, workplace: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = shutil.copytree(halves / half, tmp_path / half)
    before = (model / "model.safetensors").read_bytes()
    photos = str(workplace.folder / "photos")
    assert main(["train", photos, "-o", str(model), *QUICK, "--stage=prior"]) == 1
    assert "half" in capsys.readouterr().err
    assert (model / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(("half", "other"), [("encoder", "decoder"), ("decoder", "encoder")])
def test_a_half_says_which_part_it_lacks(
    half: str, other: str, halves: Path, workplace: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    for verb in ("diagnose", "evaluate"):
        assert main([verb, str(halves / half), str(workplace.folder / "photos")]) == 1
        assert f"use the {other} half or the whole" in capsys.readouterr().err


def test_halves_are_not_replaced_without_force(halves: Path, workplace: Workplace) -> None:
    split = ["split", str(workplace.folder / "model"), "-o", str(halves)]
    assert main(split) == 1 and main([*split, "-f"]) == 0
