"""A folder of odd files: every mode, depth, animation, damage and name. Nothing vanishes without a word."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as pillow

from latentpress.cli import main
from latentpress.coding import inspect_archive
from workplace import LOSSLESS, Workplace

MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16")
FORMS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "JPEG2000", "PPM", "ICO", "TGA")
SUFFIXES = {"JPEG": ".jpg", "WEBP": ".webp", "TIFF": ".tif", "JPEG2000": ".jp2"}
NAMES = (
    *("a b.png", "What now?.png", "12:30.png", "aux.png", "dot..png", "tab\there.png", "caf\udce9.png"),
    *("-x.png", "%41.png", "\xdf.png", "e\u0301.png", "\u202etxt.png", "'\".png", "back\\slash.png"),
    "new\nline.png",
)


def picture(mode: str, seed: int = 0, size: int = 12) -> pillow.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (size, size, 4), np.uint8)
    if mode in ("I", "F", "I;16"):
        deep = noise[..., 0].astype({"I": np.int32, "F": np.float32, "I;16": np.uint16}[mode]) * 200
        return pillow.fromarray(deep)
    if mode == "PA":
        return pillow.fromarray(noise[..., :3]).quantize(8).convert("PA")
    if mode == "P":
        return pillow.fromarray(noise[..., :3]).quantize(8)
    if mode == "LAB":
        return pillow.fromarray(noise[..., :3], "RGB").convert("RGB").copy()
    return pillow.fromarray(noise, "RGBA").convert(mode)


def pictures() -> dict[str, bytes]:
    """Every mode in every form that can hold it, animated ones, and those that are cut short."""
    files = {}
    for mode in MODES:
        for form in FORMS:
            file = io.BytesIO()
            try:
                picture(mode, len(files)).save(file, form)
            except (OSError, ValueError, KeyError, SystemError):
                continue
            name = f"{mode.replace(';', '-')}{SUFFIXES.get(form, '.' + form.lower())}"
            files[name] = file.getvalue()
    for form in ("GIF", "PNG", "WEBP", "TIFF"):
        file = io.BytesIO()
        frames = [picture("RGB", seed) for seed in range(3)]
        frames[0].save(file, form, save_all=True, append_images=frames[1:])
        files[f"several{SUFFIXES.get(form, '.' + form.lower())}"] = file.getvalue()
    whole = dict(files)
    for name in ("RGB.png", "RGB.jpg", "RGB.webp", "RGB.tif", "RGB.bmp", "1.png", "P.png", "RGBA.png"):
        data = whole[name]
        for part in range(13):
            files[f"cut{part}-{name}"] = data[: len(data) * part // 13]
        for place in range(13):
            at = len(data) * place // 13
            files[f"bent{place}-{name}"] = data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]
    files |= {
        "empty.png": b"",
        "text.png": b"this is no picture",
        "text.txt": b"nor is this",
        "huge.bmp": b"BM" * 40,
    }
    return files


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("odd") / "in"
    for number, (name, data) in enumerate(pictures().items()):
        path = top / f"{number % 7}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return top


@pytest.fixture(scope="module")
def exact(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with an autoregressive decoder."""
    model = tmp_path_factory.mktemp("exact") / "model"
    assert main(["train", str(workplace.folder / "photos"), "-o", str(model), *LOSSLESS]) == 0
    return model


@pytest.mark.parametrize("ways", [(), ("--lossless",)], ids=["lossy", "lossless"])
def test_inputs_are_restored_or_listed(
    ways: tuple[str, ...],
    folder: Path,
    workplace: Workplace,
    exact: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    model = str(exact if ways else workplace.folder / "model")
    archive, back = tmp_path / "x.lpz", tmp_path / "back"
    inputs = {
        str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
    assert len(inputs) >= 300
    assert main(["compress", str(folder), "-m", model, "-o", str(archive), *ways]) == 0
    said = capfd.readouterr().err
    items = {item.name for item in inspect_archive(archive).items}
    left = set(inputs) - items
    assert items <= set(inputs)
    assert all(Path(name).suffix.lower() not in (".png", ".jpg", ".webp", ".tif", ".bmp") for name in left)
    assert f"left out: {len(left)}, such as " in said or all(name in said for name in left)
    assert main(["decompress", str(archive), "-m", model, "-o", str(back)]) == 0
    restored = [path for path in back.rglob("*") if path.is_file()]
    assert len(restored) == len(items) == len(inputs) - len(left)
    if ways:
        check_pixels(folder, back, items)


def check_pixels(folder: Path, back: Path, items: set[str]) -> None:
    """What came back as a file of another form has the pixels; what is no picture is the same to the byte."""
    for name in items:
        same, png = back / name, (back / name).with_suffix(".png")
        if same.is_file() and same.read_bytes() == (folder / name).read_bytes():
            continue
        candidates = [path for path in (same, png, Path(f"{same}.png")) if path.is_file()]
        assert candidates, name
        with pillow.open(folder / name) as before:
            wanted = np.asarray(before.convert("RGB"))
        assert any(
            np.array_equal(np.asarray(pillow.open(path).convert("RGB")), wanted) for path in candidates
        ), name
