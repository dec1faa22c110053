"""Scripts under benchmarks/ use public names only, and run from their own folder."""

import ast
import importlib
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("routers", "experts", "tasks", "sweeps")
SCRIPTS = sorted((ROOT / "benchmarks").rglob("*.py"))


def imported(source: str) -> list[tuple[str, str]]:
    """Modules of this project and the names imported from them."""
    nodes = list(ast.walk(ast.parse(source)))
    names = [(a.name, "") for n in nodes if isinstance(n, ast.Import) for a in n.names]
    names += [(n.module, a.name) for n in nodes if isinstance(n, ast.ImportFrom) for a in n.names]
    return [(module, name) for module, name in names if module.split(".")[0] in PACKAGES]


def private(module: str, name: str) -> bool:
    """Whether a name is neither exported by a package nor in a strategy file."""
    package, _, file = module.partition(".")
    if file:
        return file.startswith("_") or not (ROOT / package / f"{file}.py").exists()
    return bool(name) and name not in importlib.import_module(package).__all__


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_script_uses_public_names(path):
    assert [pair for pair in imported(path.read_text(encoding="utf-8")) if private(*pair)] == []


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_script_hides_no_module(path):
    """A script's folder comes first on the path: ``lightning.py`` would hide the package."""
    assert importlib.util.find_spec(path.stem) is None


def test_private_names_are_found():
    private_ones = "import torch\nfrom tasks.running.run import Run\nfrom tasks import Private\n"
    source = f"{private_ones}from tasks.topics import Topics\nfrom tasks import Batch\n"
    assert [pair for pair in imported(source) if private(*pair)] == [
        ("tasks.running.run", "Run"),
        ("tasks", "Private"),
    ]
