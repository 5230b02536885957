"""The folder of machine code: whatever is wrong with it costs a compilation, and no more."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest
from numba import config

from latentpress.autoregressive.engine import compiling
from latentpress.errors import LatentpressError


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with a function to compile, and a folder for its machine code."""
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "cache"))
    path = tmp_path / "doubling.py"
    path.write_text("def doubled(x):\n    return 2 * x\n")
    return path


def compiled(source: Path) -> Any:
    """The function compiled as in a new process."""
    spec = importlib.util.spec_from_file_location("doubling", source)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return compiling.compiled(module.doubled)


def files(source: Path, suffix: str = "nb*") -> list[Path]:
    return sorted((source.parent / "cache").rglob(f"*.{suffix}"))


def hits(function: Any) -> int:
    return sum(function.stats.cache_hits.values())


def test_machine_code_is_kept(source: Path) -> None:
    assert compiled(source)(4) == 8 and len(files(source)) == 2
    again = compiled(source)
    assert again(4) == 8 and hits(again) == 1


@pytest.mark.parametrize("length", [0, 1, 50, -1])
@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
def test_files_that_are_cut_are_made_again(source: Path, suffix: str, length: int) -> None:
    compiled(source)(4)
    for path in files(source, suffix):
        os.truncate(path, length if length >= 0 else path.stat().st_size - 1)
    mending, mended = compiled(source), compiled(source)
    assert mending(4) == 8 and hits(mending) == 0
    assert mended(4) == 8 and hits(mended) == 1


def test_files_of_other_bytes_are_made_again(source: Path) -> None:
    compiled(source)(4)
    for path in files(source):
        path.write_bytes(b"\x80\x05no pickle at all")
    assert compiled(source)(4) == 8
    again = compiled(source)
    assert again(4) == 8 and hits(again) == 1


def test_a_full_disk_costs_no_more_than_a_compilation(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile._open_for_write", full)
    assert compiled(source)(4) == 8 and compiled(source)(5) == 10


def test_no_folder_is_needed(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.setattr(config, "CACHE_DIR", "")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert compiled(source)(4) == 8 and not files(source)


def test_without_compilation_there_is_no_engine(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "DISABLE_JIT", 1)
    with pytest.raises(LatentpressError, match="NUMBA_DISABLE_JIT"):
        compiled(source)
