"""Bounds for archives of strangers: samples, and memory."""

import subprocess
import sys
from pathlib import Path

import pytest

from latentpress.cli import main
from latentpress.coding.container import Archive
from latentpress.errors import ArchiveError
from latentpress.press import decompress, encode_archive, verify_archive
from small.archives import codec, items_for
from workplace import Workplace


@pytest.fixture(scope="module")
def archive(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("limits") / "x.lpz"
    assert (
        main(["compress", str(workplace.folder / "photos"), "-m", model_of(workplace), "-o", str(path)]) == 0
    )
    return path


def model_of(workplace: Workplace) -> str:
    return str(workplace.folder / "model")


@pytest.mark.parametrize("verb", ["decompress", "verify"])
def test_samples_are_bounded(verb: str, archive: Path, workplace: Workplace, tmp_path: Path, capfd) -> None:
    with archive.open("rb") as file:
        opened = Archive(file)
        samples = sum(item.positions for item in opened.items) * opened.header.channels
    out = ["-o", str(tmp_path / "out")] if verb == "decompress" else []
    command = [verb, str(archive), "-m", model_of(workplace), *out]
    assert main([*command, f"--max-samples={samples - 1}"]) == 1
    err = capfd.readouterr().err
    assert f"archive of {samples:,} samples; {samples - 1:,} are allowed" in err and err.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert main([*command, f"--max-samples={samples}"]) == 0


def test_samples_are_bounded_in_the_library(tmp_path: Path) -> None:
    model = codec("vq", "image")
    data = encode_archive(model, items_for(model))
    with pytest.raises(ArchiveError, match="99 are allowed"):
        decompress(data, model, tmp_path, max_samples=99)
    with pytest.raises(ArchiveError, match="99 are allowed"):
        verify_archive(data, model, max_samples=99)
    assert not list(tmp_path.iterdir())


def test_the_bound_is_looked_at_before_names_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small archive may say that it holds a million items."""
    model = codec("vq", "image")
    data = encode_archive(model, items_for(model))
    monkeypatch.setattr("latentpress.coding.index.unpack_names", lambda _: pytest.fail("names were made"))
    with pytest.raises(ArchiveError, match="9 are allowed"):
        verify_archive(data, model, max_samples=9)


@pytest.mark.skipif(sys.platform != "linux", reason="no such limit there")
def test_memory_is_bounded(archive: Path, workplace: Workplace, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "latentpress", "decompress", str(archive), "-m", model_of(workplace)]

    def run(size: str, out: str):
        more = ["-o", str(tmp_path / out), "--max-memory", size]
        return subprocess.run([*command, *more], capture_output=True, text=True, check=False)

    few = run("20MB", "few")
    assert few.returncode == 1 and "and 19 are allowed" in few.stderr and few.stderr.count("\n") == 1
    assert not (tmp_path / "few").exists() or not list((tmp_path / "few").iterdir())
    many = run("8GB", "many")
    assert many.returncode == 0, many.stderr
    for wrong in ("0", "3x", "-1"):
        assert run(wrong, "wrong").returncode == 2
