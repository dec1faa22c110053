"""The commands of an installation: no file of the same name is imported instead of a package."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import switchyard_moe

from .test_distribution import PROJECT, ROOT
from .test_readme import ROUTER_FILE

WRONG = "raise SystemExit('the wrong file')"


def run(folder: Path, *arguments: str | Path, path: str = "") -> tuple[int, str, str]:
    """Exit code, output and errors of ``python ARGUMENTS`` in a folder."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [path, str(ROOT)]))}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def script(folder: Path, name: str, body: str = "") -> Path:
    """A console script as an installer writes it, in a separate folder."""
    module, _, function = PROJECT["scripts"][name].partition(":")
    path = folder / "bin" / name
    path.parent.mkdir()
    main = body or f"from {module} import {function}; sys.exit({function}())"
    path.write_text(f"import sys\nif __name__ == '__main__':\n    {main}\n")
    return path


@pytest.fixture
def folder(tmp_path):
    """A folder of a user, with files named as the packages, and a plug-in."""
    folder = tmp_path / "work"
    for name in ("tasks.py", "routers.py", "experts/__init__.py", "sweeps/__init__.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(WRONG)
    (folder / "conf").mkdir()
    (folder / "conf" / "base.yaml").write_text("wrong: [")
    (folder / "nearest.py").write_text(ROUTER_FILE)
    return folder


def test_every_script_names_a_function():
    names = ("switchyard-train", "switchyard-sweep", "switchyard-check")
    assert tuple(PROJECT["scripts"]) == names
    for target in PROJECT["scripts"].values():
        module, _, function = target.partition(":")
        assert callable(getattr(sys.modules[module], function))


def test_a_script_imports_the_packages_and_a_plugin_of_the_current_folder(folder, tmp_path):
    command = script(tmp_path, "switchyard-train")
    code, shown, errors = run(folder, command, "plugins=[nearest]", "router=nearest", "--cfg")
    assert (code, errors) == (0, "")
    assert "name: nearest" in shown


TRIAL = """\
import os, switchyard_moe
    sys.path.append(os.getcwd())
    switchyard_moe.check_packages("sweeps")
    from sweeps.workers.forkserver import trial_context, warm_up
    warm_up()
    seen = "import os, sys, tasks, nearest; " \\
        "print(tasks.__file__, os.environ.get('PYTHONSAFEPATH'), nearest.__name__)"
    trial = trial_context().Process(target=exec, args=[seen])
    trial.start()
    trial.join()
"""


def test_a_trial_imports_them_too(folder, tmp_path):
    code, shown, errors = run(folder, script(tmp_path, "switchyard-sweep", TRIAL))
    assert (code, errors) == (0, "")
    assert shown == f"{ROOT / 'tasks' / '__init__.py'} None nearest\n"


def test_check_runs_the_conformance_checks(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "routers.__main__", raising=False)  # other tests import it
    monkeypatch.setattr(sys, "argv", ["switchyard-check", "--plugins", "none", "topk"])
    with pytest.raises(SystemExit, match="2"):
        switchyard_moe.check()
    assert capsys.readouterr().err.startswith("plugins=none: no such module")
    assert sys.path[-1] == str(tmp_path)


@pytest.mark.parametrize(
    ("package", "hidden"), [("experts", "routers"), ("tasks", "experts"), ("sweeps", "tasks")]
)
def test_python_m_names_the_file_that_hides_a_package(folder, package, hidden):
    for name in ("tasks.py", "routers.py", "experts/__init__.py", "sweeps/__init__.py"):
        if name.partition(".")[0].partition("/")[0] != hidden:
            (folder / name).unlink()
    code, shown, errors = run(folder, "-m", package)
    file = find_hidden(folder, hidden)
    assert (code, shown) == (2, "")
    assert errors == (
        f"error: {hidden}: {file} is imported instead of {ROOT / hidden}; rename it, or use "
        "switchyard-train, switchyard-sweep or switchyard-check, which search the current "
        "folder last\n"
    )


def find_hidden(folder: Path, name: str) -> Path:
    file = folder / f"{name}.py"
    return file if file.exists() else folder / name / "__init__.py"


def test_a_script_names_a_file_on_the_python_path(folder, tmp_path):
    command = script(tmp_path, "switchyard-train")
    code, shown, errors = run(tmp_path, command, "--list", path=str(folder))
    assert (code, shown) == (2, "")
    assert errors == (
        f"error: routers: {folder / 'routers.py'} is imported instead of {ROOT / 'routers'}; "
        f"rename it, or remove {folder} from PYTHONPATH\n"
    )


def install(folder: Path, name: str, file: str) -> None:
    """Leave what an installed distribution leaves."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "RECORD").write_text(f"{file},sha256=x,1\n{info.name}/METADATA,,\n")
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_text("")


def test_another_distribution_that_comes_first_is_named(tmp_path, monkeypatch):
    install(tmp_path, "pro-team", "experts/__init__.py")
    monkeypatch.delitem(sys.modules, "experts")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError) as error:
        switchyard_moe.check_packages("tasks")
    assert str(error.value) == (
        f"experts: {tmp_path / 'experts' / '__init__.py'} is imported instead of "
        f"{ROOT / 'experts'}; pip uninstall pro-team, then pip install --force-reinstall "
        "--no-deps switchyard-moe; or install switchyard-moe in a separate environment"
    )


def test_another_distribution_in_the_same_folder_is_named(tmp_path, monkeypatch, capsys):
    install(tmp_path, "switchyard-moe", "routers/__init__.py")
    install(tmp_path, "celery-jobs", "tasks/__init__.py")
    monkeypatch.setattr(switchyard_moe, "ROOT", tmp_path)
    monkeypatch.setattr(switchyard_moe, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["-m"])
    switchyard_moe.check_packages("experts")
    with pytest.raises(SystemExit, match="2"):
        switchyard_moe.check_packages("tasks")
    assert capsys.readouterr().err.startswith(
        f"error: tasks: celery-jobs is installed in {tmp_path / 'tasks'} too; pip uninstall "
    )
