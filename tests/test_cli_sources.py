"""What images come in, end to end: zip archives, IDX and .npz files, alpha channels, a joint prior."""

import gzip
import struct
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentpress.cli import main
from latentpress.model import load
from workplace import QUICK, Workplace, read_png, write_png

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (3, 12, 20), np.uint8)
COLOUR = RNG.integers(0, 256, (3, 12, 20, 3), np.uint8)


def write_zip(folder: Path) -> tuple[str, dict[str, np.ndarray]]:
    files = {"sea/1.png": COLOUR[0], "sea/2.png": COLOUR[1], "top.png": COLOUR[2]}
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for name, pixels in files.items():
            write_png(folder / "x.png", pixels)
            archive.write(folder / "x.png", name)
    return "images.zip", files


def write_idx(folder: Path) -> tuple[str, dict[str, np.ndarray]]:
    head = struct.pack(">HBB3I", 0, 8, 3, *GREY.shape)
    (folder / "digits-idx3-ubyte.gz").write_bytes(gzip.compress(head + GREY.tobytes()))
    as_colour = np.repeat(GREY[..., None], 3, axis=-1)
    return "digits-idx3-ubyte.gz", {f"digits-idx3-ubyte/{i:05d}.png": as_colour[i] for i in range(3)}


def write_npz(folder: Path) -> tuple[str, dict[str, np.ndarray]]:
    np.savez(folder / "set.npz", images=COLOUR, labels=[0, 1, 1])
    return "set.npz", {f"set/{i:05d}.png": COLOUR[i] for i in range(3)}


def there_and_back(source: Path, model: Path, folder: Path, *options: str) -> dict[str, np.ndarray]:
    """Compresses and restores through the command line; returns the restored pixels by name."""
    archive, back = str(folder / "x.lpz"), folder / "back"
    assert main(["compress", str(source), "-m", str(model), "-o", archive, *options]) == 0
    assert main(["decompress", archive, "-m", str(model), "-o", str(back)]) == 0
    return {p.relative_to(back).as_posix(): read_png(p) for p in back.rglob("*.png")}


def expected(model: Path, pixels: np.ndarray) -> np.ndarray:
    loaded = load(model, "cpu")
    return loaded.decode(loaded.encode(pixels[None]), pixels.shape[:2])[0]


@pytest.mark.parametrize("write", [write_zip, write_idx, write_npz])
def test_archives_of_images_go_there_and_back(write, workplace: Workplace, tmp_path: Path) -> None:
    name, originals = write(tmp_path)
    model = workplace.folder / "model"
    restored = there_and_back(tmp_path / name, model, tmp_path)
    assert restored.keys() == originals.keys()
    for item, pixels in restored.items():
        assert np.array_equal(pixels, expected(model, originals[item]))


def test_alpha_is_dropped_where_that_is_asked_for(
    workplace: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alpha = np.concatenate([COLOUR[0], np.full((12, 20, 1), 100, np.uint8)], axis=-1)
    file = BytesIO()
    Image.fromarray(alpha).save(file, "PNG")
    (tmp_path / "glass.png").write_bytes(file.getvalue())
    model, glass = workplace.folder / "model", tmp_path / "glass.png"
    archive, out = tmp_path / "kept.lpz", tmp_path / "kept"
    assert main(["compress", str(glass), "-m", str(model), "-o", str(archive)]) == 0
    err = capsys.readouterr().err
    assert "kept as files: glass.png: the image has an alpha channel" in err and "--convert" in err
    assert main(["decompress", str(archive), "-m", str(model), "-o", str(out)]) == 0
    assert (out / "glass.png").read_bytes() == file.getvalue()
    restored = there_and_back(glass, model, tmp_path, "--convert")
    assert np.array_equal(restored["glass.png"], expected(model, COLOUR[0]))
    train = ["train", str(glass), "-o", str(tmp_path / "model"), *QUICK]
    assert main(train) == 1 and "glass.png: the image has an alpha channel" in capsys.readouterr().err
    assert main([*train, "--convert"]) == 0


def test_a_joint_prior_compresses(workplace: Workplace, tmp_path: Path) -> None:
    photos, model = workplace.folder / "photos", tmp_path / "model"
    joint = ["--set=model.prior.kind=causal", "--set=model.prior.training=joint"]
    assert main(["train", str(photos), "-o", str(model), *QUICK, *joint]) == 0
    assert load(model, "cpu").integer.prior is not None
    assert [path.name for path in (model / "run").glob("step-*")] == ["step-4"]  # all steps are the codec's
    assert there_and_back(photos, model, tmp_path).keys() == set(workplace.names)
    assert main(["generate", str(model), "-n", "1", "-o", str(tmp_path / "new")]) == 0
