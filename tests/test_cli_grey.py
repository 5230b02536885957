"""A grey model through the command line: it takes grey images, and says so where they are not."""

from pathlib import Path

import numpy as np
import pytest

from latentpress.cli import main
from latentpress.items.image import read_image, write_png
from latentpress.model import VQVAE
from latentpress.press import inspect_archive
from workplace import QUICK, Workplace

GREY = np.arange(20 * 24, dtype=np.uint8).reshape(20, 24, 1)


@pytest.fixture(scope="module")
def model(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A grey model, trained on colour photographs."""
    folder = tmp_path_factory.mktemp("grey") / "model"
    photos = str(workplace.folder / "photos")
    assert main(["train", photos, "-o", str(folder), *QUICK, "--set=model.item.channels=1"]) == 0
    return folder


def test_grey_images_come_back_grey(model: Path, tmp_path: Path) -> None:
    images, archive, back = tmp_path / "in", str(tmp_path / "x.lpz"), tmp_path / "back"
    images.mkdir()
    (images / "grey.png").write_bytes(write_png(GREY))
    (images / "rgb.png").write_bytes(write_png(np.repeat(GREY, 3, axis=-1)))  # grey all the same
    assert main(["compress", str(images), "-m", str(model), "-o", archive]) == 0
    assert main(["decompress", archive, "-m", str(model), "-o", str(back)]) == 0
    loaded = VQVAE.from_pretrained(model, "cpu")
    expected = loaded.decode(loaded.encode(GREY[None]), GREY.shape[:2])[0]
    assert inspect_archive(archive).header.channels == 1
    for name in ("grey.png", "rgb.png"):
        assert np.array_equal(read_image((back / name).read_bytes()), expected)


@pytest.mark.parametrize("verb", ["compress", "evaluate"])
def test_colour_is_refused(
    verb: str, model: Path, workplace: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, archive = str(workplace.folder / "photos"), tmp_path / "x.lpz"
    compress = ["compress", photos, "-m", str(model), "-o", str(archive)]
    assert main(compress if verb == "compress" else ["evaluate", str(model), photos]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and not archive.exists()
    assert "autumn.png: the image has colour, and the model is grey: convert it to grey, or train" in err


def test_training_says_that_colour_is_dropped(
    model: Path, workplace: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    again = ["train", str(workplace.folder / "photos"), "-o", str(model), *QUICK]
    assert main([*again, "--set=model.item.channels=1"]) == 0
    assert capsys.readouterr().err.count("trained on as grey") == 1
