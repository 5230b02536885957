"""The house keeps its shape: what the design says of floors, imports, kinds, models, names and docstrings."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from latentpress.items import ITEM_KINDS

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src"
FLOORS = {
    0: ("errors", "strict", "files", "names", "items", "config", "coding"),
    1: ("exact", "nn", "latents", "autoregressive", "counted", "data"),
    2: ("model",),
    3: ("train", "evaluate", "press", "generate", "convert"),
    4: ("cli",),
}
FLOOR = {unit: floor for floor, units in FLOORS.items() for unit in units}
HELPERS = {
    "items": ("config",),
    "exact": ("latents", "autoregressive", "counted"),
    "autoregressive": ("counted",),
    "press": ("evaluate",),
}
"""Folders that others of their floor may import."""

LIGHT = ("numpy", "PIL", "constriction", "pydantic", "numba")
ABSTRACT_AT_MOST = 3
LINES_AT_MOST = 27_500
LINES_OF_A_FILE = 400

KINDS = {"image", "text", "audio", "video"}
KIND_CLASSES = {"Image", "Text", "Audio", "Video"}
MODEL_KINDS = {"vq-vae", "delta-vae"}
MODEL_CLASSES = {"VQVAE", "DeltaVAE", "VQVAEConfig", "DeltaVAEConfig"}
AXES = {axis for kind in ITEM_KINDS for axis in kind.axes} | {"row", "column", "time", "frame"}
SUFFIXES = {".png", ".jpg", ".txt", ".wav", ".flac", ".mp4"}
GEOMETRY = ("exact", "nn", "latents", "autoregressive")
"""Folders of networks, which are written for one to three axes and may count them."""

FILES = sorted((SOURCE / "latentpress").rglob("*.py"))
MODULES = [
    ".".join(file.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__") for file in FILES
]
INSIDE = [module for module in MODULES if module not in ("latentpress", "latentpress.__main__")]


@functools.cache
def tree(module: str) -> ast.Module:
    return ast.parse(FILES[MODULES.index(module)].read_text(), module)


def imported(node: ast.AST) -> Iterator[str]:
    """Yields the modules that the code below `node` imports, inside functions too."""
    for child in ast.walk(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module:
            assert child.level == 0, "imports are absolute"
            yield from (f"{child.module}.{alias.name}" for alias in child.names)


@functools.cache
def handed_on() -> dict[str, str]:
    """Names that a package's face hands on, and the modules that define them."""
    names = {}
    for module, file in zip(MODULES, FILES, strict=True):
        if file.name == "__init__.py":
            for child in ast.walk(tree(module)):
                if isinstance(child, ast.ImportFrom) and child.module:
                    names |= {f"{module}.{alias.asname or alias.name}": child.module for alias in child.names}
    return names


def own_modules(module: str) -> set[str]:
    """Returns the modules of this package that `module` imports, at whatever depth."""
    found = set()
    for name in imported(tree(module)):
        name = handed_on().get(name, name)
        if name.split(".")[0] == "latentpress":
            found.add(name if name in MODULES else name.rpartition(".")[0])
    face = FILES[MODULES.index(module)].name == "__init__.py"
    return {name for name in found - {module, "latentpress"} if not (face and name.startswith(module))}


def unit(module: str) -> str:
    return module.split(".")[1]


def is_folder(name: str) -> bool:
    return (SOURCE / "latentpress" / name).is_dir()


def may_import(here: str, there: str) -> bool:
    if here == there or FLOOR[there] < FLOOR[here]:
        return True
    if FLOOR[there] > FLOOR[here]:
        return False
    return here in HELPERS.get(there, ()) or not is_folder(there) or not is_folder(here)


@pytest.mark.parametrize("module", INSIDE)
def test_module_has_its_floor(module: str) -> None:
    assert unit(module) in FLOOR, f"{module} is on no floor"


@pytest.mark.parametrize("module", INSIDE)
def test_imports_go_down(module: str) -> None:
    wrong = [other for other in own_modules(module) if not may_import(unit(module), unit(other))]
    assert not wrong, f"{module} imports {wrong}"


def test_the_rule_itself() -> None:
    assert may_import("autoregressive", "exact") and may_import("model", "autoregressive")
    assert may_import("evaluate", "press") and may_import("config", "items")
    assert not may_import("exact", "autoregressive") and not may_import("autoregressive", "latents")
    assert not may_import("items", "nn") and not may_import("train", "evaluate")
    assert not may_import("items", "config") and not may_import("data", "nn")


def test_no_cycles() -> None:
    TopologicalSorter({module: own_modules(module) for module in INSIDE}).prepare()


@pytest.mark.parametrize("module", [module for module in INSIDE if FLOOR[unit(module)] == 0])
def test_the_ground_floor_is_light(module: str) -> None:
    optional = (
        "brotli",
        "zstandard",
        "pyppmd",
        "pillow_jxl",
    )  # codecs to compare with, where they are installed
    allowed = ("latentpress", *LIGHT, *optional)
    roots = {name.split(".")[0] for name in imported(tree(module))}
    assert roots <= {*allowed, *sys.stdlib_module_names}


@pytest.mark.parametrize("module", [module for module in INSIDE if FLOOR[unit(module)] < 4])
def test_only_the_command_line_prints_and_parses(module: str) -> None:
    names = {node.id for node in ast.walk(tree(module)) if isinstance(node, ast.Name)}
    roots = {name.split(".")[0] for name in imported(tree(module))}
    assert "print" not in names and not roots & {"click", "argparse", "tqdm"}


# ---- kinds and models


ASKING = ("startswith", "endswith", "index", "count", "get", "fullmatch", "match")
"""Methods that look for one of their arguments."""


def constants(node: ast.AST) -> set[object]:
    """The strings that are written there."""
    return {
        child.value
        for child in ast.walk(node)
        if isinstance(child, ast.Constant) and isinstance(child.value, str)
    }


def names_in(node: ast.AST) -> set[str]:
    return {child.id for child in ast.walk(node) if isinstance(child, ast.Name)} | {
        child.attr for child in ast.walk(node) if isinstance(child, ast.Attribute)
    }


def questions(module: str, words: set[str], classes: set[str]) -> list[int]:
    """Lines that ask which of these something is: by comparing a name, by its class, or by a pattern.

    Lists, sets and tuples of words count too, since something is looked for in them.
    """
    lines = []
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Compare):
            asks = bool(words & constants(node) | classes & names_in(node))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            asks = node.func.id in ("isinstance", "issubclass") and bool(classes & names_in(node))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            asks = node.func.attr in ASKING and bool(words & constants(node))
        elif isinstance(node, ast.Dict):
            asks = bool(words & {key.value for key in node.keys if isinstance(key, ast.Constant)})
        elif isinstance(node, ast.List | ast.Set | ast.Tuple):
            asks = bool(words & {each.value for each in node.elts if isinstance(each, ast.Constant)})
        elif isinstance(node, ast.MatchValue):
            asks = bool(words & constants(node))
        elif isinstance(node, ast.MatchClass):
            asks = bool(classes & names_in(node.cls))
        else:
            continue
        if asks:
            lines.append(node.lineno)
    return lines


def counted_axes(module: str) -> list[int]:
    """Lines that compare a number of axes with a number written there; of batches there is one axis more."""
    lines = []
    for node in ast.walk(tree(module)):
        if not isinstance(node, ast.Compare):
            continue
        sides = [node.left, *node.comparators]
        numbers = {side.value for side in sides if isinstance(side, ast.Constant)}
        text = " ".join(ast.unparse(side) for side in sides)
        counts = re.search(r"len\(([\w()]+\.)*(axes|hop|grid|size|extents|shape)\)|\brank\b", text)
        tells = re.search(r"\b(samples|signals?|symbols|codes|originals|restored)\.n?dim\b", text)
        tells = tells and isinstance(node.ops[0], ast.Eq | ast.NotEq)
        if (counts and numbers & {1, 2, 3, 4}) or (tells and numbers & {3, 4, 5}):
            lines.append(node.lineno)
    return lines


@pytest.mark.parametrize("module", [m for m in INSIDE if unit(m) != "items"])
def test_nothing_asks_for_a_kind(module: str) -> None:
    assert not questions(module, KINDS | AXES | SUFFIXES, KIND_CLASSES), "asks for a kind"
    if unit(module) not in GEOMETRY:
        assert not counted_axes(module), "asks for a kind by its number of axes"
    if unit(module) not in ("config",) and module != "latentpress.data.demo":
        concrete = {f"latentpress.items.{name}" for name in KIND_CLASSES}
        assert not set(imported(tree(module))) & concrete, "knows a kind"


@pytest.mark.parametrize("module", [m for m in INSIDE if unit(m) not in ("model", "train", "config")])
def test_nothing_asks_which_model(module: str) -> None:
    assert not questions(module, MODEL_KINDS, MODEL_CLASSES), "asks which model it has"
    assert not MODEL_CLASSES & names_in(tree(module)), "names a model's class"


def test_the_questions_themselves(monkeypatch) -> None:
    asked = {
        "if item.kind == 'text': pass": True,
        "x = isinstance(item, Image)": True,
        "x = {'image': 1}": True,
        "x = path.suffix == '.png'": True,
        "x = name.endswith('.png')": True,
        "x = {'row', 'column'} <= set(item.axes)": True,
        "x = [item.axes.index(name) for name in ('row', 'column')]": True,
        "x = item.axes.index('time')": True,
        "match item.kind:\n    case 'text': pass": True,
        "match item:\n    case Image(): pass": True,
        "x = item.kind == other.kind": False,
        "x = isinstance(item, tuple)": False,
    }
    for source, asks in asked.items():
        monkeypatch.setattr(sys.modules[__name__], "tree", lambda _, source=source: ast.parse(source))
        assert bool(questions("any", KINDS | AXES | SUFFIXES, KIND_CLASSES)) == asks, source
    counted = {
        "x = len(item.axes) == 2": True,
        "x = samples.ndim == 4": True,
        "x = len(hop) > 1": True,
        "x = y == 2": False,
    }
    for source, counts in counted.items():
        monkeypatch.setattr(sys.modules[__name__], "tree", lambda _, source=source: ast.parse(source))
        assert bool(counted_axes("any")) == counts, source


# ---- size and documentation


def test_few_abstract_classes() -> None:
    nodes = [node for module in MODULES for node in ast.walk(tree(module))]
    bases = {
        node.name: {ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases}
        for node in nodes
        if isinstance(node, ast.ClassDef)
    }
    protocols = {name for name, own in bases.items() if "Protocol" in own}
    inherited = {base for own in bases.values() for base in own} & protocols
    abstract = inherited | {name for name, own in bases.items() if "ABC" in own}
    assert len(abstract) <= ABSTRACT_AT_MOST, abstract


@pytest.mark.parametrize("module", MODULES)
def test_all_is_there_and_resolves(module: str) -> None:
    loaded = importlib.import_module(module)
    assert loaded.__doc__, f"{module} says nothing of itself"
    assert len(set(loaded.__all__)) == len(loaded.__all__)
    for name in loaded.__all__:
        there = hasattr(loaded, name) or f"{module}.{name}" in MODULES
        assert there, f"{module}.__all__ names {name}, which is not there"


@pytest.mark.parametrize("module", MODULES)
def test_public_names_are_documented(module: str) -> None:
    loaded = importlib.import_module(module)
    for name in loaded.__all__:
        value = getattr(loaded, name, None)
        if inspect.isclass(value) or (inspect.isfunction(value) and value.__name__ == name):
            assert inspect.getdoc(value), f"{module}.{name} has no docstring"
        if inspect.isclass(value) and value.__module__ == module:
            for method, member in vars(value).items():
                if inspect.isfunction(member) and not method.startswith("_"):
                    assert inspect.getdoc(member), f"{module}.{name}.{method} has no docstring"


@pytest.mark.parametrize("folder", ["src", "tests", "benchmarks", "docs"])
def test_files_are_short(folder: str) -> None:
    lines = {file.name: len(file.read_text().splitlines()) for file in (ROOT / folder).rglob("*.py")}
    assert lines
    assert not {name: count for name, count in lines.items() if count > LINES_OF_A_FILE}


def test_the_house_is_small() -> None:
    assert sum(len(file.read_text().splitlines()) for file in FILES) <= LINES_AT_MOST
