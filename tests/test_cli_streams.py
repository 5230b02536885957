"""Streams that are missing, closed, or cannot spell a name; names that would move a terminal's cursor."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from latentpress.cli import main, streams
from latentpress.cli.progress import progress_bar, say
from workplace import Workplace


def run(*command: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "latentpress", *command], capture_output=True, **options)  # type: ignore[call-overload]


@pytest.fixture(scope="module")
def archive(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("streams") / "photos.lpz"
    assert (
        main(
            [
                "compress",
                str(workplace.folder / "photos"),
                "-m",
                str(workplace.folder / "model"),
                "-o",
                str(out),
            ]
        )
        == 0
    )
    return out


def test_without_stderr_the_work_is_done(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, model, out = workplace.folder / "photos", workplace.folder / "model", tmp_path / "x.lpz"
    with monkeypatch.context() as without:
        without.setattr(sys, "stderr", None)
        assert main(["compress", str(photos), "-m", str(model), "-o", str(out)]) == 0
        assert main(["compress", str(photos), "-m", str(model), "-o", str(out)]) == 1  # it is there
        assert main(["compress"]) == 2
    assert out.is_file() and capsys.readouterr() == ("", "")


def test_without_stdout_data_have_nowhere_to_go(
    archive: Path, workplace: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photo, model = workplace.folder / "photos" / workplace.names[0], workplace.folder / "model"
    monkeypatch.setattr(sys, "stdout", None)
    for command in (["inspect", str(archive)], ["compress", str(photo), "-m", str(model), "-o", "-"]):
        assert main(command) == 1
        err = capsys.readouterr().err
        assert "stdout" in err and "closed" in err and err.count("\n") == 1


def test_without_stdin_there_is_no_item(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["compress", "-", "-m", str(workplace.folder / "model"), "-o", str(tmp_path / "x.lpz")]) == 1
    assert capsys.readouterr().err == "latentpress: - is stdin, and that is closed\n"


def test_a_reader_that_goes_away_ends_it_quietly(archive: Path) -> None:
    command = [sys.executable, "-m", "latentpress", "inspect", str(archive)]
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as pipe:
        ended = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE)
    assert ended.returncode == 1 and ended.stderr == b""


def test_an_encoding_that_has_not_the_letters_is_no_obstacle(workplace: Workplace, tmp_path: Path) -> None:
    model, out = workplace.folder / "model", tmp_path / "x.lpz"
    photo = tmp_path / "caf\u00e9 \u20ac.png"
    photo.write_bytes((workplace.folder / "photos" / workplace.names[0]).read_bytes())
    assert main(["compress", str(photo), "-m", str(model), "-o", str(out)]) == 0
    shown = run("inspect", str(out), env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert shown.returncode == 0 and b"30  caf" in shown.stdout.splitlines()[-1]


def test_control_characters_are_escaped_wherever_they_come_from(
    archive: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = "a\x1b[2J\x07\u202egnp.\x9b"
    say(hostile)
    streams.show(hostile)
    assert main(["inspect", hostile]) == 2 and main(["train", ".", "-o", "x", f"--set={hostile}"]) == 2

    @click.command()
    def failing() -> None:
        raise OSError(2, "gone", hostile)

    monkeypatch.setattr("latentpress.cli.cli", failing)
    assert main([]) == 1
    out, err = capsys.readouterr()
    lines = (out + err).replace("\n", "")
    assert lines.isprintable() and lines.count("a\\x1b[2J\\x07\\u202egnp.\\x9b") >= 4


def test_a_file_that_ends_is_no_interruption(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    @click.command()
    @click.argument("how")
    def failing(how: str) -> None:
        raise EOFError if how == "file" else KeyboardInterrupt

    monkeypatch.setattr("latentpress.cli.cli", failing)
    assert main(["file"]) == 1 and "interrupted" not in capsys.readouterr().err
    assert main(["user"]) == 130 and capsys.readouterr().err.strip() == "latentpress: interrupted"


def test_a_terminal_without_width_shows_something(monkeypatch: pytest.MonkeyPatch) -> None:
    class Narrow(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Narrow())
    monkeypatch.setenv("COLUMNS", "0")
    monkeypatch.setenv("LINES", "0")
    monkeypatch.setattr("latentpress.cli.progress._SHOW_AFTER", 0)
    with progress_bar() as bar:
        bar("encode", 1, 2)
        say("a line")
        bar("encode", 2, 2)
    assert "a line" in sys.stderr.getvalue()  # type: ignore[union-attr]


@pytest.mark.parametrize("device", ["gpu", "cuda:7", "meta:3", ""])
def test_a_device_that_is_not_there_is_one_line(
    device: str, workplace: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, model = workplace.folder / "photos", workplace.folder / "model"
    command = ["compress", str(photos), "-m", str(model), "-o", str(tmp_path / "x.lpz"), "--device", device]
    assert main(command) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"latentpress: there is no device {device!r}") and err.count("\n") == 1


def test_other_mistakes_are_one_line(
    workplace: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, model = workplace.folder / "photos", workplace.folder / "model"
    assert main(["compress", str(photos), "-m", str(model), "-o", str(tmp_path / "not" / "x.lpz")]) == 1
    assert f"{tmp_path / 'not'}: no such folder" in capsys.readouterr().err
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    (tmp_path / "lfs").mkdir()
    (tmp_path / "lfs" / "model.safetensors").write_text(pointer)
    assert main(["inspect", str(tmp_path / "lfs")]) == 1
    err = capsys.readouterr().err
    assert "Git LFS pointer" in err and err.count("\n") == 1
