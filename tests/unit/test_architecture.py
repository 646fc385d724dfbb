"""The arrows: which module may import which, read from the sources.

docs/architecture.md draws them; tests/arrows.py names the hot modules and what they may import.
"""

import ast
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Sequence, Set

import pytest

from tests.arrows import COLD_DOORS, HOT, HOT_C, HOT_MAY_IMPORT
from tests.world import REPOSITORY

# These carry vocabulary and formats: they hang on nothing of ours but what stands here.
LEAVES: Dict[str, Set[str]] = {"outcome": set(), "key": set(), "entry": {"outcome", "key"}}

MAX_LINES = 500
MAX_FUNCTION = 60
NO_NAME_FOR_A_MODULE = {"utils", "util", "helpers", "common", "misc"}


class Import(NamedTuple):
    """One imported module: ``kachelib.store`` or ``sys``; whether at import time; where."""

    module: str
    at_top: bool
    line: int


def sources() -> List[Path]:
    return sorted((REPOSITORY / "kachelib").glob("*.py"))


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports(node: ast.AST, at_top: bool = True) -> Iterator[Import]:
    """All imports below ``node`` that can run; those for the type checker alone cannot."""
    for child in ast.iter_child_nodes(node):
        if is_type_checking(child):
            continue
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, at_top, child.lineno)
        elif isinstance(child, ast.ImportFrom):
            base = "kachelib" if child.level else ""
            module = ".".join(part for part in (base, child.module or "") if part)
            if module == "kachelib":
                for alias in child.names:
                    yield Import(f"kachelib.{alias.name}", at_top, child.lineno)
            else:
                yield Import(module, at_top, child.lineno)
        else:
            inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from imports(child, at_top and not inside)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def ours(module: str) -> str:
    """The name of our module that ``module`` is or lies in; empty for anything else and for the package itself."""
    parts = module.split(".")
    names = {path.stem for path in sources()}
    return parts[1] if parts[0] == "kachelib" and len(parts) > 1 and parts[1] in names else ""


def hot_sources() -> List[Path]:
    return [path for path in sources() if path.stem in HOT | HOT_C]


def hot_of(path: Path) -> Set[str]:
    """The hot modules that a hot module may know: those of every story that loads it."""
    return set(HOT & HOT_C if path.stem in HOT & HOT_C else HOT if path.stem in HOT else HOT_C)


@pytest.mark.parametrize("path", hot_sources(), ids=lambda path: path.stem)
def test_hot_module_imports_only_the_allowed_list(path: Path) -> None:
    wrong = []
    for found in imports(parse(path)):
        if not found.at_top:
            continue
        allowed = ours(found.module) in HOT | HOT_C or found.module in HOT_MAY_IMPORT
        if not allowed and found.module.partition(".")[0] != "kachelib":
            wrong.append(f"{path.name}:{found.line} {found.module}")
    assert not wrong


@pytest.mark.parametrize("path", hot_sources(), ids=lambda path: path.stem)
def test_hot_module_knows_cold_ones_only_inside_functions(path: Path) -> None:
    wrong = [
        f"{path.name}:{found.line} {found.module}"
        for found in imports(parse(path))
        if found.at_top and ours(found.module) and ours(found.module) not in hot_of(path)
    ]
    assert not wrong


def test_hot_module_opens_only_its_own_cold_doors() -> None:
    wrong = [
        f"{path.name}:{found.line} {found.module}"
        for path in hot_sources()
        if path.stem not in ("wrapper", "cc_wrapper")
        for found in imports(parse(path))
        if ours(found.module) and ours(found.module) not in hot_of(path) | COLD_DOORS.get(path.stem, set())
    ]
    assert not wrong


def closure(*names: str) -> Set[str]:
    """All modules that loading ``names`` loads: ours, and what these import of others."""
    loaded: Set[str] = set()
    waiting = [f"kachelib.{name}" for name in names]
    while waiting:
        module = waiting.pop()
        if module not in loaded:
            loaded.add(module)
            if ours(module):
                tree = parse(REPOSITORY / "kachelib" / f"{ours(module)}.py")
                waiting.extend(found.module for found in imports(tree) if found.at_top)
    return loaded


@pytest.mark.parametrize(("door", "hot"), [("wrapper", HOT), ("cc_wrapper", HOT_C)])
def test_hot_list_is_what_the_wrapper_loads(door: str, hot: Set[str]) -> None:
    """No more, so that the list stays true; no less, so that nothing hides behind another module."""
    assert {ours(module) for module in closure(door)} - {""} == hot


@pytest.mark.parametrize("names", [("compile", "collect", "taker"), ("cc_compile", "cc_collect", "preprocessed")])
def test_a_miss_loads_nothing_that_it_does_not_need(names: Sequence[str]) -> None:
    """A compiler waits while they load: these took 4 to 9 ms each, and every miss of a cold build pays for them."""
    loaded = closure(*names)
    assert {"kachelib.store", "posix"} <= loaded
    assert not loaded & {"subprocess", "typing", "contextlib", "dataclasses", "json", "threading", "tempfile"}


@pytest.mark.parametrize("name", sorted(LEAVES))
def test_leaf_knows_nothing_of_ours(name: str) -> None:
    path = REPOSITORY / "kachelib" / f"{name}.py"
    known = {ours(found.module) for found in imports(parse(path))} - {""}
    assert known <= LEAVES[name]


def test_hot_modules_form_no_circle() -> None:
    graph = {
        path.stem: {ours(found.module) for found in imports(parse(path)) if found.at_top} - {""} for path in sources()
    }
    done: Set[str] = set()

    def visit(name: str, way: List[str]) -> None:
        assert name not in way, " → ".join([*way, name])
        if name in done:
            return
        for target in sorted(graph.get(name, ())):
            visit(target, [*way, name])
        done.add(name)

    for name in graph:
        visit(name, [])


def test_nothing_but_the_front_door_knows_wrapper_and_cli() -> None:
    """Commands call the modules that do the work, never the front ends."""
    wrong = [
        f"{path.name}:{found.line} {found.module}"
        for path in sources()
        for found in imports(parse(path))
        # salt is a front end itself; completions are of the command table
        if ours(found.module) in ("wrapper", "cc_wrapper", "cli") and path.stem not in ("salt", "completions")
    ]
    assert not wrong


def test_front_door_is_small() -> None:
    path = REPOSITORY / "kache.py"
    assert len(path.read_text("utf-8").splitlines()) <= 40
    # salt: shells ask for it at every entry, and the command table costs more than the answer
    assert {ours(found.module) for found in imports(parse(path))} - {""} <= {"wrapper", "cc_wrapper", "salt", "cli"}


def reads_environment(tree: ast.Module) -> Iterator[int]:
    """Lines with ``KACHE_…`` as the key of a lookup: ``environ["KACHE_X"]``, ``environ.get("KACHE_X")``."""
    for node in ast.walk(tree):
        keys: List[ast.expr] = []
        if isinstance(node, ast.Subscript):
            keys = [node.slice]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            keys = node.args[:1] if node.func.attr in ("get", "getenv") else []
        for key in keys:
            if isinstance(key, ast.Constant) and str(key.value).lstrip("b'").startswith("KACHE_"):
                yield key.lineno


def test_only_config_reads_our_environment() -> None:
    wrong = [
        f"{path.name}:{line}" for path in sources() if path.stem != "config" for line in reads_environment(parse(path))
    ]
    assert not wrong


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.stem)
def test_module_has_one_noun(path: Path) -> None:
    tree = parse(path)
    assert ast.get_docstring(tree), "a module says what it owns and what it may not know"
    assert len(path.read_text("utf-8").splitlines()) < MAX_LINES
    assert path.stem not in NO_NAME_FOR_A_MODULE
    long = [
        f"{node.name}: {(node.end_lineno or 0) - node.lineno + 1} lines"
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (node.end_lineno or 0) - node.lineno + 1 > MAX_FUNCTION
    ]
    assert not long


def test_checker_sees_a_forbidden_import(tmp_path: Path) -> None:
    """The tests above are worth what ``imports`` sees: each form of import, at the top and inside functions."""
    path = tmp_path / "probe.py"
    path.write_text(
        "import os, json as j\n"
        "from kachelib import store\n"
        "from kachelib.entry import Entry\n"
        "from . import index\n"
        "TYPE_CHECKING = False\n"
        "if TYPE_CHECKING:\n    from typing import List\n"
        "class C:\n    import enum\n"
        "def f():\n    import re\n"
    )
    found = {(item.module, item.at_top) for item in imports(parse(path))}
    assert found == {
        ("os", True),
        ("json", True),
        ("kachelib.store", True),
        ("kachelib.entry", True),
        ("kachelib.index", True),
        ("enum", True),
        ("re", False),
    }
