"""The layout of the packages: imports run one way, and every file is in its room."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

#: Packages, each importing only those before it.
PACKAGES = ["routers", "experts", "tasks", "sweeps"]

#: Per package: files and rooms in the order in which they may import each other.
#: ``*`` stands for the strategies, which are the plain files of a package root.
LAYERS = {
    "routers": "plugins _torch routing gates _router blocks * losses comparison metrics "
    "conformance _catalogue __init__ __main__",
    "experts": "kernels _bank * dispatch layers recording surgery interventions accounting "
    "models parallel plan conformance __init__ _bench __main__",
    "tasks": "text metrics pictures _task loading augmentations backbones multi_target readers "
    "baselines config assembly edits bases * training routes probe conformance templates running "
    "__init__ __main__",
    "sweeps": "storage search workers engines config statistics results report driver stages "
    "__init__ __main__",
}
BASES = {"routers": "_router.py", "experts": "_bank.py", "tasks": "_task.py"}
ENTRY_POINTS = {"__init__.py", "__main__.py", "py.typed"}

#: Test files that may import private modules outside of the room that they test.
MAX_REACHING_TESTS = 30

FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def module_of(path: Path) -> str:
    """The dotted name of a file; a package's ``__init__`` has the package's."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}
FOLDERS = {name for name, path in MODULES.items() if path.name == "__init__.py"}


def imported_modules(path: Path, source: str) -> set[str]:
    """Dotted names that a file imports, wherever in the file and for types alone included."""
    package = module_of(path).split(".")
    package = package if path.stem == "__init__" else package[:-1]
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            named = {f"{base}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else base for name in named}
    return found


IMPORTS = {
    name: imported_modules(path, path.read_text(encoding="utf-8")) for name, path in MODULES.items()
}


def layer_of(module: str) -> int:
    """The place of a module in the ``LAYERS`` of its package."""
    package, _, inner = module.partition(".")
    layers = LAYERS[package].split()
    first = inner.split(".")[0] or "__init__"
    return layers.index(first if first in layers else "*")


@pytest.mark.parametrize("package", PACKAGES)
def test_no_package_imports_a_later_one_or_the_tests(package):
    later = {*PACKAGES[PACKAGES.index(package) + 1 :], "tests"}
    wrong = {
        (name, other)
        for name, others in IMPORTS.items()
        for other in others
        if name.split(".")[0] == package and other.split(".")[0] in later
    }
    assert not wrong


def test_other_packages_are_entered_through_a_folder_or_a_strategy():
    wrong = [
        f"{name} imports {other}"
        for name, others in IMPORTS.items()
        for other in others
        if other.split(".")[0] != name.split(".")[0] and not is_public(other)
    ]
    assert not wrong


@pytest.mark.parametrize("package", PACKAGES)
def test_rooms_import_one_way(package):
    wrong = [
        f"{name} imports {other}"
        for name, others in IMPORTS.items()
        for other in others & MODULES.keys()
        if name.split(".")[0] == other.split(".")[0] == package
        and other != package
        and layer_of(other) > layer_of(name)
    ]
    assert not wrong


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_root_holds_its_base_class_strategies_and_rooms(package):
    root = ROOT / package
    files = {path.name for path in root.iterdir() if path.is_file() and path.suffix != ".pyc"}
    assert {name for name in files if name.startswith("_")} - ENTRY_POINTS <= {BASES.get(package)}
    rooms = {path.parent.name for path in root.glob("*/__init__.py")}
    layers = set(LAYERS[package].split()) - {"*", "__init__", "__main__"}
    assert rooms == layers - {Path(BASES.get(package, "")).stem}


def is_public(module: str) -> bool:
    """Whether a module is a package, a room or a strategy, and none of them private."""
    package, *inner = module.split(".")
    is_command = inner == ["__main__"]
    return (
        package not in PACKAGES
        or is_command
        or (len(inner) <= 1 and not "".join(inner).startswith("_"))
    )


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").rglob("*.py")), ids=lambda p: p.stem)
def test_benchmarks_import_public_names_alone(path):
    found = imported_modules(path, path.read_text(encoding="utf-8"))
    assert not {name for name in found if not is_public(name)}


def test_few_tests_import_what_is_neither_public_nor_of_their_room():
    """A test of a room lies in ``tests/PACKAGE/ROOM``."""
    reaching = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        room = ".".join(path.relative_to(ROOT / "tests").parts[:2])
        found = imported_modules(path, path.read_text(encoding="utf-8"))
        if any(not is_public(name) and not name.startswith(f"{room}.") for name in found):
            reaching.append(path.relative_to(ROOT).as_posix())
    assert len(reaching) <= MAX_REACHING_TESTS, reaching


def circle_in(imports: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in turn, the first one again at the end."""
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
    assert not circle_in({name: others & MODULES.keys() for name, others in IMPORTS.items()})


def test_a_circle_is_found():
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert not circle_in({"a": {"b", "c"}, "b": {"c"}, "c": set()})


def test_imports_are_found_wherever_they_stand():
    source = "import a.b\nfrom c.d import e\nfrom . import topk\ndef g():\n    import h as i\n"
    found = imported_modules(ROOT / "routers" / "new.py", source)
    assert found == {"a.b", "c.d", "routers.topk", "h"}
