"""Files of every legal name, through the command line: kept, shown in one printable line, and restored."""

import sys
import zipfile
from pathlib import Path

import pytest

from latentpress.cli import main
from workplace import Workplace

ODD = ("What now?.png", "aux.png", "caf\udce9.png", "c\n\x1b[2J.png", "a\\b.png")


@pytest.mark.skipif(sys.platform != "linux", reason="needs a system that has these names")
def test_odd_names_go_there_and_back(
    workplace: Workplace, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    photo, model = (workplace.folder / "photos" / "lake.png").read_bytes(), str(workplace.folder / "model")
    archive, back = str(tmp_path / "x.lpz"), tmp_path / "back"
    (tmp_path / "in").mkdir()
    for name in ODD:
        (tmp_path / "in" / name).write_bytes(photo)
    assert main(["compress", str(tmp_path / "in"), "-m", model, "-o", archive]) == 0
    for options in ((), ("--json",)):
        capfd.readouterr()
        assert main(["inspect", archive, *options]) == 0
        out = capfd.readouterr().out
        assert r"caf\udce9.png" in out and all(line.isprintable() for line in out.splitlines())
    assert main(["decompress", archive, "-m", model, "-o", str(back)]) == 0
    assert sorted(path.name for path in back.iterdir()) == sorted(ODD)
    assert "another name" not in capfd.readouterr().err
    assert main(["decompress", archive, "-m", model, "-o", str(back), "--only", ODD[2]]) == 1
    err = capfd.readouterr().err
    assert err.count("\n") == 1 and r"caf\udce9.png" in err and "exists already" in err
    (tmp_path / "in" / ODD[3]).write_bytes(photo[:100])
    assert main(["compress", str(tmp_path / "in"), "-m", model, "-o", archive, "-f"]) == 0
    err = capfd.readouterr().err
    assert r"kept as files: 'c\n\x1b[2J.png': damaged" in err and "\x1b" not in err


def test_names_that_no_archive_holds_are_said_at_once_and_skipped(
    workplace: Workplace, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    photo, model = workplace.folder / "photos" / "lake.png", str(workplace.folder / "model")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in (*(f"../{n}.png" for n in range(9)), "fine.png"):
            archive.write(photo, name)
    compress = ["compress", str(tmp_path / "x.zip"), "-m", model, "-o", str(tmp_path / "x.lpz")]
    assert main(compress) == 1
    err = capfd.readouterr().err
    assert all(f"../{n}.png (a name that no archive can hold: " in err for n in range(9))
    assert main([*compress, "--skip"]) == 0
    assert "left out ../8.png: a name that no archive" in capfd.readouterr().err


def test_two_names_that_a_system_may_take_for_one_are_told(
    workplace: Workplace, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    photo, model = workplace.folder / "photos" / "lake.png", str(workplace.folder / "model")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as zipped:
        for name in ("a.png", "A.png"):
            zipped.write(photo, name)
    archive, back = str(tmp_path / "x.lpz"), tmp_path / "back"
    assert main(["compress", str(tmp_path / "x.zip"), "-m", model, "-o", archive]) == 0
    assert main(["decompress", archive, "-m", model, "-o", str(back)]) == 0
    assert "1 under another name than in the archive" in capfd.readouterr().err
    assert sorted(path.name.lower() for path in back.iterdir()) == ["a.png", "a.png.png"]
