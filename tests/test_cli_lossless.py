"""Lossless archives through the command line: train, compress, look, prove, restore, measure."""

import json
from pathlib import Path

import numpy as np
import pytest

from latentpress.cli import main
from latentpress.model import load
from workplace import LOSSLESS, QUICK, Workplace, read_png


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
    assert out == "" and "compressed 3 images" in err and "every pixel kept" in err
    assert "restored 3 images" in err and "every pixel restored" in err
    for name in workplace.names:
        assert np.array_equal(read_png(back / name), read_png(workplace.folder / "photos" / name))


def test_the_summary_has_the_bytes_of_the_files(capfd, workplace: Workplace, archive: str) -> None:
    err = capfd.readouterr().err
    files = sum((workplace.folder / "photos" / name).stat().st_size for name in workplace.names)
    size = Path(archive).stat().st_size
    assert f"{files} B of files, {size} B of archive, ratio {files / size:.2f}," in err


def test_inspect_shows_it(model: str, archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["inspect", archive, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["lossless"] and told["ids"]["decoder"] == load(model, "cpu").integer.ids["decoder"].hex()
    assert 0 <= told["fallback"] <= 3
    assert {use["part"] for use in told["modes"]} <= {"codes", "samples", "fallback"}
    assert main(["inspect", archive]) == 0
    assert "lossless    yes" in capsys.readouterr().out
    assert main(["inspect", model]) == 0
    assert told["ids"]["decoder"] in capsys.readouterr().out


def test_a_model_without_an_autoregressive_decoder_says_what_to_do(
    workplace: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, out = workplace.folder, tmp_path / "x.lpz"
    press = ["compress", str(place / "photos"), "-m", str(place / "model"), "-o", str(out), "--lossless"]
    assert main(press) == 1 and not out.exists()
    err = capsys.readouterr().err
    assert "autoregressive" in err and err.count("\n") == 1


def test_evaluate_measures_it(workplace: Workplace, model: str, tmp_path: Path, capsys) -> None:
    measure = ["evaluate", model, str(workplace.folder / "photos"), "--lossless"]
    report = tmp_path / "x.html"
    assert main([*measure, "--json", "--report", str(report)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["num_items"] == 3 and told["bits_per_dim"] > 0 and told["lossy"] is None
    assert told["file_bytes"] == sum(
        path.stat().st_size for path in (workplace.folder / "photos").rglob("*.png")
    )
    assert "Every pixel comes back as it was" in report.read_text()
    assert main([*measure, "--against", "webp"]) == 0
    out = capsys.readouterr().out
    assert "| WebP, files" in out and "PNG" not in out and "every pixel restored" in out
    assert main([*measure, "--against", "jpeg"]) == 1


def test_a_decoder_without_latents_needs_no_codec(
    workplace: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, alone = str(workplace.folder / "photos"), str(tmp_path / "alone")
    options = ["--stage=decoder", "--set=model.autoregressive.use_latents=false"]
    assert main(["train", photos, "-o", alone, *LOSSLESS, *options]) == 0
    capsys.readouterr()
    assert main(["evaluate", alone, photos, "--lossless", "--against", "none"]) == 0
    assert "of the archive, codes" not in capsys.readouterr().out


def test_another_decoder_is_fitted_to_the_codec(
    workplace: Workplace, model: str, tmp_path: Path, capsys
) -> None:
    photos = str(workplace.folder / "photos")
    train = ["train", photos, "-o", str(tmp_path / "model"), *LOSSLESS]
    assert main(train) == 0
    before = load(tmp_path / "model", "cpu")
    assert main([*train, "--stage=decoder", "--seed=1"]) == 0
    after = load(tmp_path / "model", "cpu")
    assert after.codes_id == before.codes_id
    assert after.integer.ids["decoder"] != before.integer.ids["decoder"]
    assert main(["train", photos, "-o", str(tmp_path / "none"), *QUICK, "--stage=decoder"]) == 1
