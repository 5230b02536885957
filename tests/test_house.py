"""The house keeps its shape: what the design says of floors, imports, names and docstrings."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src"
FLOORS = {
    0: ("errors", "strict", "files", "names", "items", "config", "coding"),
    1: ("exact", "nn", "latents", "autoregressive"),
    2: ("model", "checkpoint"),
    3: ("data", "train", "evaluate", "press", "generate"),
    4: ("cli",),
}
FLOOR = {unit: floor for floor, units in FLOORS.items() for unit in units}
LIGHT = ("numpy", "PIL", "constriction", "cbor2", "pydantic", "numba")
ABSTRACT_AT_MOST = 3

FILES = sorted((SOURCE / "latentpress").rglob("*.py"))
MODULES = [
    ".".join(file.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__") for file in FILES
]
INSIDE = [module for module in MODULES if module not in ("latentpress", "latentpress.__main__")]


@functools.cache
def tree(module: str) -> ast.Module:
    return ast.parse(FILES[MODULES.index(module)].read_text(), module)


def imported(node: ast.AST, *, deep: bool) -> Iterator[str]:
    """Yields the modules that the code below `node` imports; `deep` looks into functions too."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module:
            assert child.level == 0, "imports are absolute"
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        elif deep or not isinstance(child, ast.FunctionDef):
            yield from imported(child, deep=deep)


def own_modules(module: str, *, deep: bool) -> set[str]:
    """Returns the modules of this package that `module` imports."""
    found = set()
    for name in imported(tree(module), deep=deep):
        if name.split(".")[0] == "latentpress":
            found.add(name if name in MODULES else name.rpartition(".")[0])
    return found - {module, "latentpress"}


def unit(module: str) -> str:
    return module.split(".")[1]


def is_folder(name: str) -> bool:
    return (SOURCE / "latentpress" / name).is_dir()


def may_import(here: str, there: str) -> bool:
    if here == there or FLOOR[there] < FLOOR[here]:
        return True
    if FLOOR[there] > FLOOR[here]:
        return False
    helpers = {
        "nn": ("latents", "autoregressive"),
        "exact": ("latents", "autoregressive"),
        "data": ("train", "evaluate", "press", "generate"),
        "press": ("evaluate",),
    }
    return here in helpers.get(there, ()) or not (is_folder(here) and is_folder(there))


@pytest.mark.parametrize("module", INSIDE)
def test_module_has_its_floor(module: str) -> None:
    assert unit(module) in FLOOR, f"{module} is on no floor"


@pytest.mark.parametrize("module", INSIDE)
def test_imports_go_down(module: str) -> None:
    wrong = [other for other in own_modules(module, deep=True) if not may_import(unit(module), unit(other))]
    assert not wrong, f"{module} imports {wrong}"


def test_the_rule_itself() -> None:
    assert may_import("grid", "nn") and may_import("model", "autoregressive") and may_import("evaluate", "press")
    assert (
        not may_import("nn", "autoregressive") and not may_import("autoregressive", "latents") and not may_import("items", "nn")
    )
    assert not may_import("train", "evaluate")


def test_no_cycles() -> None:
    TopologicalSorter({module: own_modules(module, deep=False) for module in INSIDE}).prepare()


@pytest.mark.parametrize("module", [module for module in INSIDE if FLOOR[unit(module)] == 0])
def test_the_ground_floor_is_light(module: str) -> None:
    allowed = ("latentpress", *LIGHT)
    standard = sys.stdlib_module_names
    roots = {name.split(".")[0] for name in imported(tree(module), deep=True)}
    assert roots <= {*allowed, *standard}


@pytest.mark.parametrize("module", [module for module in INSIDE if FLOOR[unit(module)] < 4])
def test_only_the_command_line_prints_and_parses(module: str) -> None:
    names = {node.id for node in ast.walk(tree(module)) if isinstance(node, ast.Name)}
    roots = {name.split(".")[0] for name in imported(tree(module), deep=True)}
    assert "print" not in names and not roots & {"click", "argparse", "tqdm"}


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


@pytest.mark.parametrize("module", MODULES)
def test_files_are_short(module: str) -> None:
    assert len(FILES[MODULES.index(module)].read_text().splitlines()) < 400
