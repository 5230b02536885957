"""The command line as a whole: exit codes, what goes where, and what it costs to ask for help."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

import latentpress
from latentpress.cli import VERBS, cli, main
from latentpress.cli.options import Duration
from latentpress.config.presets import PRESETS
from latentpress.errors import ConfigError
from workplace import Workplace

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src")}


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """A list; the error put into it is raised by `latentpress inspect`."""
    from latentpress.coding import inspection

    errors: list[BaseException] = []

    def fail(_: object) -> None:
        raise errors[0]

    monkeypatch.setattr(inspection, "inspect_archive", fail)
    return errors


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, env=ENVIRONMENT)


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {verb} " in shown for verb in VERBS)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"latentpress {latentpress.__version__}\n"


def test_version_is_the_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == latentpress.__version__


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb: str) -> None:
    root = cli.make_context("latentpress", [], resilient_parsing=True)
    command = cli.get_command(root, verb)
    assert command is not None and command.short_help
    text = command.get_help(command.make_context(verb, [], parent=root, resilient_parsing=True))
    assert f"latentpress {verb}" in text and "--debug" in text
    assert all(param.help for param in command.params if isinstance(param, click.Option))


def test_every_preset_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    said = re.sub(r"-\s+", "-", capsys.readouterr().out)  # names that are broken at the end of a line
    assert all(re.search(rf"[ -]{name}[,;.]", said) for name in PRESETS)


@pytest.mark.parametrize(
    "args",
    [
        ["press"],
        ["compress"],
        ["compress", "no-such-file", "-m", "nowhere", "-o", "x.lpz"],
        ["train", ".", "-o", "m", "--time", "soon"],
        ["train", ".", "-o", "m", "--time", "2m", "--steps", "5"],
        ["train", ".", "-o", "m", "--set", "steps"],
        ["train", ".", "-o", "m", "--stage", "third"],
        ["train", "-", "-o", "m"],
        ["generate", ".", "-n", "2", "-o", "-"],
        ["generate", ".", "-n", "0", "-o", "x"],
        ["generate", ".", "-o", "x", "--size", "64x"],
        ["generate", ".", "-o", "x", "--keep", "0.5"],
        ["train", ".", "-o", "m", "--preset", "tiny", "--config", __file__],
        ["evaluate", ".", ".", "--report", "-"],
    ],
)
def test_misuse_is_2(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(args) == 2
    out, err = capsys.readouterr()
    assert out == "" and "Error: " in err


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ConfigError("no such\nsetting"), "latentpress: no such setting"),
        (FileNotFoundError(2, "No such file", "x.png"), "latentpress: x.png: No such file"),
        (ZeroDivisionError("by zero"), "latentpress: ZeroDivisionError: by zero (--debug shows where)"),
    ],
)
def test_failure_is_1_with_one_line(
    broken: list[BaseException], error: Exception, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    broken.append(error)
    assert main(["inspect", __file__]) == 1
    assert capsys.readouterr() == ("", line + "\n")


def test_debug_shows_the_traceback(broken: list[BaseException], capsys: pytest.CaptureFixture[str]) -> None:
    broken.append(ConfigError("no"))
    assert main(["inspect", __file__, "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_interruption_is_130(broken: list[BaseException], capsys: pytest.CaptureFixture[str]) -> None:
    broken.append(KeyboardInterrupt())
    assert main(["inspect", __file__]) == 130
    assert capsys.readouterr().err.strip() == "latentpress: interrupted"


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("20m", 1200), ("2h", 7200), ("1.5h", 5400), ("45", 45)]
)
def test_durations(text: str, seconds: float) -> None:
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "m", "-5s", "0s", "1d", "2 m", "nan", "1e3s"])
def test_durations_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Duration().convert(text, None, None)


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, latentpress\nfrom latentpress.cli import main\nmain(['--help'])\nprint(*sys.modules)"
    done = run("-c", code)
    assert not {"torch", "pydantic", "numpy", "PIL", "matplotlib"} & set(done.stdout.split())
    assert done.stderr == ""


@pytest.fixture(scope="module")
def archive(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> str:
    path, model = str(tmp_path_factory.mktemp("archive") / "x.lpz"), str(workplace.folder / "model")
    assert main(["compress", str(workplace.folder / "photos"), "-m", model, "-o", path]) == 0
    return path


def test_a_look_into_an_archive_needs_neither_torch_nor_the_model(archive: str) -> None:
    code = "import sys\nfrom latentpress.cli import main\nmain(['inspect', sys.argv[1]])\nprint(*sys.modules)"
    done = run("-c", code, archive)
    assert "town/square.png" in done.stdout and done.stderr == ""
    assert not {"torch", "matplotlib", "PIL"} & set(done.stdout.splitlines()[-1].split())


EXTRAS = ("jinja2", "matplotlib", "sklearn", "tabulate", "torchmetrics", "tqdm")
WITHOUT = f"""
import sys
sys.modules |= dict.fromkeys({EXTRAS})  # importing them raises ImportError
from latentpress.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_archives_are_made_and_restored_without_the_extras(
    archive: str, workplace: Workplace, tmp_path: Path
) -> None:
    model = str(workplace.folder / "model")
    for args in (
        ["--help"],
        ["inspect", archive],
        ["verify", archive, "-m", model],
        ["decompress", archive, "-m", model, "-o", str(tmp_path / "back")],
        ["compress", str(tmp_path / "back"), "-m", model, "-o", str(tmp_path / "again.lpz")],
        ["generate", model, "-n1", "-o", str(tmp_path / "new")],
    ):
        done = run("-c", WITHOUT, *args)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "back" / "lake.png").is_file()
    done = run("-c", WITHOUT, "evaluate", model, str(tmp_path / "back"))
    assert done.returncode == 1 and "pip install 'latentpress[evaluate]'" in done.stderr


def test_the_extras_are_in_the_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split("[>=<]", each)[0] for each in project["optional-dependencies"]["evaluate"]}
    assert names == {"jinja2", "matplotlib", "scikit-learn", "tabulate", "torchmetrics"}
    assert not names & {re.split("[>=<]", each)[0] for each in project["dependencies"]}


def test_module_runs_as_a_program() -> None:
    done = run("-m", "latentpress", "train")
    assert done.returncode == 2 and done.stdout == "" and "Missing argument" in done.stderr
