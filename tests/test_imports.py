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


def module_of(path: Path) -> str:
    """The dotted name of a file; a package's ``__init__`` has the package's."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_files(path: Path, known: set[str]) -> set[str]:
    """Modules of ours that a file imports, those imported for their types alone included."""
    package = module_of(path).split(".")
    package = package if path.stem == "__init__" else package[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            named = {f"{base}.{alias.name}" for alias in node.names}
            found |= {name if name in known else base for name in named}
    return found & known


def circle_in(imports: dict[str, set[str]]) -> list[str]:
    """A list of modules that import each other in turn, the first one again at the end."""
    done: set[str] = set()

    def walk(module: str, trail: list[str]) -> list[str]:
        if module in trail:
            return [*trail[trail.index(module) :], module]
        if module in done:
            return []
        for other in sorted(imports[module]):
            if circle := walk(other, [*trail, module]):
                return circle
        done.add(module)
        return []

    return next(filter(None, (walk(module, []) for module in sorted(imports))), [])


def test_no_files_import_each_other_in_a_circle():
    known = {module_of(path) for path in FILES}
    assert not circle_in({module_of(path): imported_files(path, known) for path in FILES})


def test_a_circle_is_found():
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert not circle_in({"a": {"b", "c"}, "b": {"c"}, "c": set()})
