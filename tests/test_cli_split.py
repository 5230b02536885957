"""Halves on the command line."""

from pathlib import Path

import pytest

from latentpress.cli import main
from workplace import QUICK, Workplace


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_nothing_is_trained_on_half_a_model(
    half: str, workplace: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["split", str(workplace.folder / "model"), "-o", str(tmp_path)]) == 0
    before = (tmp_path / half / "model.safetensors").read_bytes()
    photos = str(workplace.folder / "photos")
    assert main(["train", photos, "-o", str(tmp_path / half), *QUICK, "--stage=prior"]) == 1
    assert "other settings: half" in capsys.readouterr().err
    assert (tmp_path / half / "model.safetensors").read_bytes() == before
