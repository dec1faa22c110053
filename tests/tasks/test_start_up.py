"""Composing a configuration loads none of the libraries that only training or a report needs."""

import subprocess
import sys

HEAVY = (
    "lightning",
    "matplotlib",
    "optuna",
    "rich",
    "scipy",
    "sklearn",
    "tensorboard",
    "torchmetrics",
)

COMPOSE = f"""
import sys
import tasks
tasks.compose(["router=hash", "task=multitask"])
print(*sorted(set({HEAVY}) & sys.modules.keys()))
"""


def test_composing_a_configuration_loads_no_heavy_library():
    run = subprocess.run(
        [sys.executable, "-c", COMPOSE], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == []
