"""Files appear whole or not at all, and only where they may."""

import io
import os
import subprocess
import sys
import threading
import time

import pytest

from latentpress.errors import LatentpressError, UnsafePathError
from latentpress.files import open_atomic, refuse_existing, safe_path, write_atomically


def test_a_file_appears_at_the_end_and_alone(tmp_path):
    with open_atomic(tmp_path / "a", overwrite=False) as file:
        file.write(b"new")
        assert not (tmp_path / "a").exists()
        file.seek(0)
        assert file.read() == b"new"
    assert (tmp_path / "a").read_bytes() == b"new" and os.listdir(tmp_path) == ["a"]


def test_a_stream_gets_its_bytes_at_the_end():
    out = io.BytesIO()
    with open_atomic(out, overwrite=False) as file:
        file.write(b"new")
        assert not out.getvalue()
    assert out.getvalue() == b"new"


@pytest.mark.parametrize("stream", [True, False])
def test_an_error_leaves_nothing(tmp_path, stream):
    out = io.BytesIO() if stream else tmp_path / "a"
    with pytest.raises(ValueError), open_atomic(out, overwrite=True) as file:
        file.write(b"half")
        raise ValueError
    assert not os.listdir(tmp_path) and not (stream and out.getvalue())


def test_an_error_leaves_the_old_file(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(ValueError), open_atomic(tmp_path / "a", overwrite=True) as file:
        file.write(b"half")
        raise ValueError
    assert (tmp_path / "a").read_bytes() == b"old" and os.listdir(tmp_path) == ["a"]


def test_writing_is_all_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with monkeypatch.context() as broken:

        def kill(*_):
            raise KeyboardInterrupt

        broken.setattr(os, "replace", kill)
        with pytest.raises(KeyboardInterrupt):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


def test_nothing_is_overwritten_unasked(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("a", "folder", "dangling"):
        with pytest.raises(LatentpressError, match=r"exists already; .*-f"):
            refuse_existing(tmp_path / name, overwrite=False)
        with pytest.raises(LatentpressError), open_atomic(tmp_path / name, overwrite=False):
            raise AssertionError("refused before anything is done")
    refuse_existing(tmp_path / "a", overwrite=True)
    refuse_existing(tmp_path / "dangling", overwrite=True)
    refuse_existing(tmp_path / "new", overwrite=False)
    with pytest.raises(LatentpressError):  # a folder is never replaced by a file
        refuse_existing(tmp_path / "folder", overwrite=True)
    assert sorted(os.listdir(tmp_path)) == ["a", "dangling", "folder"]


def test_what_appears_meanwhile_is_kept(tmp_path):
    with pytest.raises(LatentpressError), open_atomic(tmp_path / "a", overwrite=False) as file:
        file.write(b"new")
        (tmp_path / "a").write_bytes(b"another's")
    assert (tmp_path / "a").read_bytes() == b"another's" and os.listdir(tmp_path) == ["a"]


def test_a_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "target").write_bytes(b"untouched")
    (tmp_path / "a").symlink_to(tmp_path / "target")
    write_atomically(tmp_path / "a", b"new")
    assert (tmp_path / "target").read_bytes() == b"untouched"
    assert (tmp_path / "a").read_bytes() == b"new" and not (tmp_path / "a").is_symlink()


def test_paths_stay_below_their_folder(tmp_path):
    assert safe_path(tmp_path, "a/b/c.png") == tmp_path / "a/b/c.png"
    assert not os.listdir(tmp_path)
    for name in ("../a", "/a", "a/../../b", "a\0b", *(("a\\b", "NUL") if os.name == "nt" else ())):
        with pytest.raises(UnsafePathError):
            safe_path(tmp_path, name)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UnsafePathError, match="is a link"):
        safe_path(tmp_path, "link/a")
    with pytest.raises(LatentpressError, match="in the way"):
        safe_path(tmp_path, "file/a")


@pytest.mark.parametrize("durable", [True, False])
def test_only_durable_files_wait_for_the_disk(tmp_path, monkeypatch, durable):
    synced = []
    monkeypatch.setattr("latentpress.files.os.fsync", synced.append)
    with open_atomic(tmp_path / "a", overwrite=False, durable=durable) as file:
        file.write(b"new")
    assert (tmp_path / "a").read_bytes() == b"new" and bool(synced) == durable


def test_a_pipe_is_written_into_and_stays_a_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    try:
        os.mkfifo(pipe)
    except (OSError, AttributeError):
        pytest.skip("no pipes here")
    with pytest.raises(LatentpressError, match="exists already"), open_atomic(pipe, overwrite=False):
        pass
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    with open_atomic(pipe, overwrite=True) as file:
        file.write(b"new")
        file.seek(0)
        assert file.read() == b"new"
    reader.join(10)
    assert read == [b"new"] and pipe.is_fifo() and os.listdir(tmp_path) == ["pipe"]


PART = ".0123456789abcdef.part"


def leftover(folder, name, age=100):
    """A file that a killed process could have left so many seconds ago."""
    path = folder / name
    path.write_bytes(b"half")
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_leftovers_of_killed_processes_are_removed(tmp_path):
    dead = leftover(tmp_path, PART)
    others = [
        leftover(tmp_path, name) for name in ("a.part", ".0123.part", f"x{PART}", ".0123456789abcdeg.part")
    ]
    young = leftover(tmp_path, ".fedcba9876543210.part", age=5)
    (tmp_path / "below").mkdir()
    below = leftover(tmp_path / "below", PART)
    with open_atomic(tmp_path / "x", overwrite=False) as file:
        file.write(b"whole")
    assert not dead.exists() and young.exists() and below.exists()
    assert all(path.read_bytes() == b"half" for path in others)
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".part") == sorted(
        path.name for path in (*others, young)
    )


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed there")
def test_what_a_living_process_writes_stays(tmp_path):
    code = f"""
import os, sys, time
from pathlib import Path
from latentpress.files import open_atomic
with open_atomic(Path({str(tmp_path / "slow")!r}), overwrite=False) as file:
    file.write(b"slow")
    file.flush()
    os.utime(file.name, (1, 1))
    print("ready", flush=True)
    sys.stdin.read()
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], text=True, **pipes) as other:
        assert other.stdout.readline() == "ready\n"
        with open_atomic(tmp_path / "quick", overwrite=False) as file:
            file.write(b"quick")
        other.communicate()
    assert (tmp_path / "slow").read_bytes() == b"slow" and (tmp_path / "quick").read_bytes() == b"quick"


def test_a_link_called_like_a_leftover_stays(tmp_path):
    (tmp_path / "own").write_bytes(b"own")
    (tmp_path / PART).symlink_to(tmp_path / "own")
    os.utime(tmp_path / PART, (1, 1), follow_symlinks=False)
    with open_atomic(tmp_path / "x", overwrite=False):
        pass
    assert (tmp_path / PART).is_symlink() and (tmp_path / "own").read_bytes() == b"own"
