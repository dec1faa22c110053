"""Imports run one way: routers <- experts <- tasks <- sweeps."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ORDER = ["routers", "experts", "tasks", "sweeps"]
FILES = [path for package in ORDER for path in sorted((ROOT / package).rglob("*.py"))]


def imported(source: str) -> set[str]:
    """Top-level packages a module names in its imports, wherever in the file they stand."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_module_imports_a_later_package(path):
    own = path.relative_to(ROOT).parts[0]
    later = set(ORDER[ORDER.index(own) + 1 :])
    assert not imported(path.read_text(encoding="utf-8")) & later


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_module_reaches_into_another_package(path):
    own = path.relative_to(ROOT).parts[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            package, _, inner = (node.module or "").partition(".")
            assert package == own or package not in ORDER or not inner.startswith("_")


def test_nothing_imports_the_tests():
    assert not any("tests" in imported(path.read_text(encoding="utf-8")) for path in FILES)


def test_imports_are_found_wherever_they_stand():
    source = "import a.b\nfrom c.d import e\nfrom . import f\ndef g():\n    import h as i\n"
    assert imported(source) == {"a", "c", "h"}
