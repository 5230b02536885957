"""What an image file holds beside its pixels is kept with the file, or said to be lost."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as pillow
from PIL import PngImagePlugin

from latentpress.cli import main
from latentpress.items import Image
from latentpress.items.image_files import metadata_of
from workplace import Workplace

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)


def exif(*tags: int) -> pillow.Exif:
    made = pillow.Exif()
    for tag in tags:
        made[tag] = 6 if tag == 0x0112 else "caption"
    return made


def text() -> PngImagePlugin.PngInfo:
    made = PngImagePlugin.PngInfo()
    made.add_text("Author", "somebody")
    return made


FILES = {
    "plain.png": ({}, ()),
    "plain.jpg": ({}, ()),
    "plain.webp": ({"lossless": True}, ()),
    "plain.tif": ({}, ()),
    "plain.bmp": ({}, ()),
    "dots.png": ({"dpi": (72, 72)}, ()),
    "upright.jpg": ({"exif": exif(0x0112)}, ()),
    "exif.jpg": ({"exif": exif(0x010E, 0x0112)}, ("EXIF",)),
    "exif.png": ({"exif": exif(0x010E), "icc_profile": b"x" * 300}, ("EXIF", "ICC profile")),
    "xmp.webp": ({"exif": exif(0x010E), "xmp": b"<x/>"}, ("EXIF", "XMP")),
    "text.png": ({"pnginfo": text()}, ("text",)),
    "comment.jpg": ({"comment": b"seen"}, ("text",)),
    "profile.tif": ({"icc_profile": b"x" * 300}, ("ICC profile",)),
}


def file_of(name: str) -> bytes:
    file = io.BytesIO()
    form = {"jpg": "JPEG", "tif": "TIFF"}.get(name.split(".")[1], name.split(".")[1].upper())
    pillow.fromarray(PIXELS).save(file, form, **FILES[name][0])
    return file.getvalue()


@pytest.mark.parametrize("name", FILES)
def test_what_a_file_holds_besides_is_named(name: str) -> None:
    data = file_of(name)
    assert metadata_of(data) == FILES[name][1]
    assert Image().open(io.BytesIO(data)).besides == FILES[name][1]


def test_what_is_not_kept_is_said(
    workplace: Workplace, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    for name in FILES:
        (tmp_path / "in" / name).write_bytes(file_of(name))
    command = ["compress", str(tmp_path / "in"), "-m", str(workplace.folder / "model"), "-o"]
    assert main([*command, str(tmp_path / "x.lpz")]) == 0
    err = capfd.readouterr().err
    assert "not kept, as it is no part of the images' samples: EXIF of 3, " in err
    for words in ("ICC profile of 2", "XMP of 1", "text of 2"):
        assert words in err


def test_files_that_are_stored_keep_it(
    workplace: Workplace, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    deep = pillow.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20))
    deep.save(tmp_path / "in" / "deep.png", pnginfo=text())
    command = ["compress", str(tmp_path / "in"), "-m", str(workplace.folder / "model"), "-o"]
    assert main([*command, str(tmp_path / "x.lpz")]) == 0
    err = capfd.readouterr().err
    assert "kept as files: deep.png" in err and "not kept" not in err
