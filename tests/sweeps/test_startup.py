"""Start-up: modules that are slow to import load only when a command needs them."""

import subprocess
import sys

import pytest

from ..tasks.cases import TINY

#: Packages that only a sweep, its report or its statistics need.
HEAVY = ("optuna", "sqlalchemy", "grpc", "sweeps.statistics", "sweeps.report")


@pytest.mark.parametrize("statement", ["import sweeps", "import sweeps; sweeps.main(['--help'])"])
def test_heavy_packages_are_not_imported(statement):
    script = f"import sys; {statement}; print([name for name in {HEAVY} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert run.stdout.splitlines()[-1] == "[]"


def test_a_trial_finds_its_imports_loaded(tmp_path):
    """A training imports next to nothing after the modules that the fork server loads."""
    command = [*TINY, "task=digits", f"out={tmp_path / 'run'}"]
    script = (
        "import sys, sweeps.workers.preload, tasks; before = set(sys.modules)\n"
        f"tasks.main({command})\n"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    imported = set(run.stdout.splitlines()[-1].split())
    packages = {"lightning", "torchmetrics", "scipy", "tasks", "experts", "routers"}
    assert not imported & packages
