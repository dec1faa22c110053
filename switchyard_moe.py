"""The commands of an installation, and the check that its packages are the ones imported.

The packages have common names, so a file of the user or another distribution can have the same
name and be imported instead. This module has a separate name, so it is found in any case.
"""

import os
import runpy
import sys
from collections.abc import Sequence
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

#: The distribution, and the folder that its packages are in.
DISTRIBUTION, ROOT = "switchyard-moe", Path(__file__).resolve().parent

#: Packages, each importing only those before it.
PACKAGES = ("routers", "experts", "tasks", "sweeps")


def train() -> None:
    """Run ``switchyard-train``, which is ``python -m tasks``."""
    _run("tasks")


def sweep() -> None:
    """Run ``switchyard-sweep``, which is ``python -m sweeps``."""
    _run("sweeps")


def check() -> None:
    """Run ``switchyard-check``, which is ``python -m routers check``."""
    _run("routers", "check")


def check_packages(package: str) -> None:
    """Raise ``ImportError`` unless a package and those that it imports are the ones next to this.

    While ``python -m`` imports a package, exit with code 2 instead; then packages that another
    distribution has written to are found too, which takes longer.
    """
    if sys.argv[:1] == ["-m"]:
        _exit_if(package)
    if problem := _hidden(_needed(package)):
        raise ImportError(problem)


def _run(package: str, *words: str) -> None:
    """Run the command of a package; plug-ins in the current folder can be imported.

    That folder is searched last, so nothing in it hides a package.
    """
    if not sys.flags.safe_path:
        sys.path.append(os.getcwd())
    _exit_if(package)
    sys.argv[1:1] = words
    runpy.run_module(package, run_name="__main__", alter_sys=True)


def _exit_if(package: str) -> None:
    """Exit with code 2 and a message if a package is not the one of this distribution."""
    needed = _needed(package)
    if problem := _hidden(needed) or _overwritten(needed):
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(2)


def _needed(package: str) -> Sequence[str]:
    return PACKAGES[: PACKAGES.index(package) + 1]


def _hidden(names: Sequence[str]) -> str:
    """The problem that another file is imported under one of these names, if it is."""
    for name in names:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            continue  # its import fails with a message that says so
        file = Path(spec.origin)
        if file.resolve().parent == (ROOT / name).resolve():
            continue
        folder = file.parent.parent if spec.submodule_search_locations else file.parent
        cure = f"rename it, or remove {folder} from PYTHONPATH"
        if folder == Path.cwd():
            commands = "switchyard-train, switchyard-sweep or switchyard-check"
            cure = f"rename it, or use {commands}, which search the current folder last"
        if owners := _installed_by(folder, file.relative_to(folder).as_posix()):
            cure = _cure(owners)
        return f"{name}: {file} is imported instead of {ROOT / name}; {cure}"
    return ""


def _overwritten(names: Sequence[str]) -> str:
    """The problem that another distribution is installed over one of these packages, if it is."""
    for name in names:
        if owners := _installed_by(ROOT, f"{name}/__init__.py"):
            others = ", ".join(owners)
            return f"{name}: {others} is installed in {ROOT / name} too; {_cure(owners)}"
    return ""


def _cure(owners: Sequence[str]) -> str:
    again = f"pip install --force-reinstall --no-deps {DISTRIBUTION}"
    return (
        f"pip uninstall {' '.join(owners)}, then {again}; "
        f"or install {DISTRIBUTION} in a separate environment"
    )


def _installed_by(folder: Path, file: str) -> list[str]:
    """Names of other distributions that have installed a file in a folder such as site-packages."""
    found = {
        each.metadata["Name"]
        for each in distributions(path=[str(folder)])
        if f"\n{file}," in "\n" + (each.read_text("RECORD") or "")
    }
    return sorted(found - {DISTRIBUTION})
