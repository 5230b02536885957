"""Lossless pressing through the command line: train, press, look, prove, restore, measure."""

import json
from pathlib import Path

import numpy as np
import pytest

from latentpress.cli import main
from latentpress.items.image import read_image
from latentpress.model import VQVAE
from workplace import LOSSLESS, QUICK, Workplace


@pytest.fixture(scope="module")
def model(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("lossless") / "model"
    assert main(["train", str(workplace.folder / "photos"), "-o", str(folder), *LOSSLESS]) == 0
    return str(folder)


@pytest.fixture
def archive(workplace: Workplace, model: str, tmp_path: Path) -> str:
    path = str(tmp_path / "exact.lpz")
    assert main(["compress", str(workplace.folder / "photos"), "-m", model, "-o", path, "--lossless"]) == 0
    return path


def test_every_pixel_comes_back(
    capfd: pytest.CaptureFixture[str], workplace: Workplace, model: str, archive: str, tmp_path: Path
) -> None:
    back = tmp_path / "back"
    assert main(["verify", archive, "-m", model]) == 0
    assert main(["decompress", archive, "-m", model, "-o", str(back)]) == 0
    out, err = capfd.readouterr()
    assert out == "" and "pressed 3 images" in err and "every pixel kept" in err
    assert "restored 3 images" in err and "every pixel restored" in err
    for name in workplace.names:
        original = read_image((workplace.folder / "photos" / name).read_bytes())
        assert np.array_equal(read_image((back / name).read_bytes()), original)


def test_inspect_tells_of_it(model: str, archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["inspect", archive, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["lossless"] and told["pixels_id"] == VQVAE.from_pretrained(model).pixels_id.hex()
    assert 0 <= told["stored_whole"] <= 3 and {use["part"] for use in told["modes"]} <= {
        "codes",
        "pixels",
        "whole",
    }
    assert main(["inspect", archive]) == 0
    assert "lossless    yes: " in capsys.readouterr().out
    assert main(["inspect", model]) == 0
    assert told["pixels_id"] in capsys.readouterr().out


def test_a_model_without_a_decoder_of_pixels_says_what_to_do(
    workplace: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, out = workplace.folder, tmp_path / "x.lpz"
    press = ["compress", str(place / "photos"), "-m", str(place / "model"), "-o", str(out), "--lossless"]
    assert main(press) == 1 and not out.exists()
    err = capsys.readouterr().err
    assert "train one with --stage decoder" in err and err.count("\n") == 1
    train = ["train", str(place / "photos"), "-o", str(tmp_path / "model"), *QUICK, "--stage", "decoder"]
    assert main(train) == 1
    assert "has no pixels section" in capsys.readouterr().err


def test_evaluate_measures_it(workplace: Workplace, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    measure = ["evaluate", model, str(workplace.folder / "photos"), "--lossless"]
    assert main([*measure, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["num_items"] == 3 and told["bits_per_dim"] > 0 and told["uses_codes"]
    assert main(measure) == 0
    assert "| webp, files" in capsys.readouterr().out
    assert main([*measure, "--against", "jpeg"]) == 2
    assert main([*measure, "--report", "x.html"]) == 2


def test_the_baseline_sees_no_codes_and_needs_no_codec(
    workplace: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, baseline = str(workplace.folder / "photos"), str(tmp_path / "baseline")
    alone = ["--stage=decoder", "--set=model.pixels.use_codes=false"]
    assert main(["train", photos, "-o", baseline, *LOSSLESS, *alone]) == 0
    capsys.readouterr()
    assert main(["evaluate", baseline, photos, "--lossless"]) == 0
    assert "**Latentpress**, no codes" in capsys.readouterr().out
