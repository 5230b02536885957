"""What the documents say is so: commands run as printed, examples run, every verb is there."""

import re
import runpy
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from latentpress.cli import VERBS, main
from workplace import QUICK, QUICKLY, Workplace

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
PLACEHOLDER = re.compile(r"@\w+@|\b(?:TODO|TBD|FIXME|XXX)\b|\?\?\?|\{\{|lorem ipsum", re.IGNORECASE)
COMMANDS = [line.split("#")[0].strip() for block in blocks("sh") for line in block.splitlines()]


def quickly(args: list[str]) -> list[str]:
    """The command; one that trains as printed for minutes makes such a model in moments."""
    if args[0] != "train":
        return args
    if "notes" in args[1] or {"photos-lossless", 'model.prior={"kind": "counted"}'} & {
        *args
    }:  # these only count
        return args
    options = dict(zip(args[4::2], args[5::2], strict=True))  # after `train DATA -o MODEL`
    assert args[2] == "-o" and options.pop("--time"), args
    preset = options.pop("--preset", None)
    quick = QUICKLY.get(preset or "", QUICK)
    more = [part for option in options.items() for part in option]
    return [*args[:4], *(quick if preset else quick[1:]), *more]  # the first quick option is the preset


@pytest.fixture(scope="module")
def newcomer(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh folder with pictures in `photos/`, `holdout/` and `icons/`, texts in `notes/`, and digits."""
    folder = tmp_path_factory.mktemp("newcomer")
    for name in ("photos", "holdout", "icons"):
        shutil.copytree(workplace.folder / "photos", folder / name)
    for notes, name in (("notes", "README.md"), ("notes", "CHANGELOG.md"), ("more-notes", "README.md")):
        (folder / notes).mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / notes / name)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 8, 8), np.uint8)
    np.savez(folder / "digits.npz", images=images, labels=rng.integers(0, 2, 20))
    return folder


def test_commands_and_python_run_as_printed(newcomer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(newcomer)
    for line in COMMANDS:
        program, *args = shlex.split(line)
        if program != "latentpress":
            continue
        assert main(quickly(args)) == 0, line
    for example in blocks("python"):
        exec(compile(example, "README.md", "exec"), {})
    assert Path("one/lake.png").is_file() and Path("report.html").is_file() and Path("unpacked").is_dir()


def test_make_targets_exist() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    named = re.findall(r"^make ([a-z-]+)", "\n".join(COMMANDS), flags=re.MULTILINE)
    assert named and set(named) <= set(targets)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_in_the_reference(verb: str) -> None:
    assert f"## latentpress {verb}\n" in (ROOT / "docs" / "cli.md").read_text()


def test_the_reference_is_current() -> None:
    reference = runpy.run_path(str(ROOT / "docs" / "generate_cli.py"))["reference"]
    assert (ROOT / "docs" / "cli.md").read_text() == reference(), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_nothing_is_left_to_fill_in(page: Path) -> None:
    lines = enumerate(page.read_text().splitlines(), 1)
    assert not [f"{page.name}:{number}: {line}" for number, line in lines if PLACEHOLDER.search(line)]


@pytest.mark.parametrize("text", ["takes @SECONDS@ s", "TODO", "a gain of TBD dB", "??? images", "{{ x }}"])
def test_placeholders_are_told(text: str) -> None:
    assert PLACEHOLDER.search(text)
    assert not PLACEHOLDER.search("someone@example.org, tests/todos.py, f{x}, why?")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text())
    assert not [link for link in links if "://" not in link and not (page.parent / link).exists()]
