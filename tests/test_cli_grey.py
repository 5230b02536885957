"""A grey model through the command line: it takes grey images, and says so where they are not."""

from pathlib import Path

import numpy as np
import pytest

from latentpress.cli import main
from latentpress.coding import inspect_archive
from latentpress.model import load
from workplace import QUICK, Workplace, read_png, write_png

GREY = np.arange(20 * 24, dtype=np.uint8).reshape(20, 24, 1)


@pytest.fixture(scope="module")
def model(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A grey model, trained on colour photographs that are converted."""
    folder = tmp_path_factory.mktemp("grey") / "model"
    photos = str(workplace.folder / "photos")
    assert main(["train", photos, "-o", str(folder), *QUICK, "--set=model.item.channels=1", "--convert"]) == 0
    return folder


def test_a_grey_collection_gets_a_grey_model(tmp_path: Path) -> None:
    write_png(tmp_path / "in" / "grey.png", GREY)
    write_png(tmp_path / "in" / "rgb.png", np.repeat(np.flip(GREY, 0), 3, axis=-1))  # grey all the same
    out = [str(tmp_path / name) for name in ("grey", "colour")]
    assert main(["train", str(tmp_path / "in"), "-o", out[0], *QUICK]) == 0
    assert main(["train", str(tmp_path / "in"), "-o", out[1], *QUICK, "--set=model.item.channels=3"]) == 0
    assert [load(folder, "cpu").item.channels for folder in out] == [1, 3]


def test_grey_images_come_back_grey(model: Path, tmp_path: Path) -> None:
    images, archive, back = tmp_path / "in", str(tmp_path / "x.lpz"), tmp_path / "back"
    write_png(images / "grey.png", GREY)
    write_png(images / "rgb.png", np.repeat(np.flip(GREY, 0), 3, axis=-1))  # grey all the same
    assert main(["compress", str(images), "-m", str(model), "-o", archive]) == 0
    assert main(["decompress", archive, "-m", str(model), "-o", str(back)]) == 0
    loaded = load(model, "cpu")
    assert inspect_archive(archive).header.channels == 1
    for name, grey in (("grey.png", GREY), ("rgb.png", np.flip(GREY, 0))):
        expected = loaded.decode(loaded.encode(grey[None].copy()), GREY.shape[:2])[0]
        assert np.array_equal(
            read_png(back / name, channels=3 if name == "rgb.png" else 1)[..., :1], expected
        )


def test_colour_is_kept_as_it_is_and_not_evaluated(
    model: Path, workplace: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, archive, back = workplace.folder / "photos", tmp_path / "x.lpz", tmp_path / "back"
    why = "autumn.png: the image has colour, and the model is grey: convert it with --convert"
    assert main(["evaluate", str(model), str(photos)]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and why in err
    assert main(["compress", str(photos), "-m", str(model), "-o", str(archive)]) == 0
    assert f"kept as files: {why}" in capsys.readouterr().err
    assert main(["decompress", str(archive), "-m", str(model), "-o", str(back)]) == 0
    for name in workplace.names:
        assert (back / name).read_bytes() == (photos / name).read_bytes()


def test_colour_is_converted_where_that_is_asked_for(
    model: Path, workplace: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, archive = str(workplace.folder / "photos"), str(tmp_path / "x.lpz")
    assert main(["compress", photos, "-m", str(model), "-o", archive, "--convert"]) == 0
    assert len(inspect_archive(archive).items) == 3
    grey = [*QUICK, "--set=model.item.channels=1"]
    assert main(["train", photos, "-o", str(tmp_path / "m"), *grey]) == 1
    assert "--convert" in capsys.readouterr().err
