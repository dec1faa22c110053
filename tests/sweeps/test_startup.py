"""Start-up: modules that are slow to import load only when a command needs them."""

import subprocess
import sys

import pytest

#: Packages that only a sweep, its report or its statistics need.
HEAVY = ("optuna", "sqlalchemy", "grpc", "sweeps.statistics", "sweeps.report")


@pytest.mark.parametrize("statement", ["import sweeps", "import sweeps; sweeps.main(['--help'])"])
def test_heavy_packages_are_not_imported(statement):
    script = f"import sys; {statement}; print([name for name in {HEAVY} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert run.stdout.splitlines()[-1] == "[]"
