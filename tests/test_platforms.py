"""Systems without fcntl, fork, sessions of processes or CPU affinity, such as Windows."""

import ast
import os
import subprocess
import sys

from .sweeps.cases import ARMS, TINY
from .test_imports import FILES, ROOT

#: Modules of the standard library that some systems lack.
UNIX = {"fcntl", "grp", "pwd", "resource", "syslog", "termios", "tty"}

#: Takes away what Windows lacks.
SIMULATE = f"""
import multiprocessing, multiprocessing.context as context, os, signal, sys
sys.modules.update(dict.fromkeys({UNIX}))  # their import fails
del os.sched_getaffinity, os.setsid, os.killpg, os.fork, signal.pthread_sigmask, signal.SIGKILL
del context.ForkServerProcess, context.ForkServerContext, context.ForkProcess
multiprocessing.get_all_start_methods = lambda: ["spawn"]
"""

PLAN = f"""
import routers, experts, tasks, sweeps
import sweeps.stages.sweep, tasks.running.launched
print(*[arm.label for arm in sweeps.make_plan(sweeps.compose({[*TINY, "out=s"]})).arms])
"""


def test_the_packages_import_and_a_sweep_is_planned(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SIMULATE + PLAN]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list(ARMS)


def test_no_import_of_a_file_needs_a_module_of_unix():
    needed = []
    for path in FILES:
        for line in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(line, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in line.names} | {getattr(line, "module", None)}
                needed += [f"{path.relative_to(ROOT)}: {name}" for name in names & UNIX]
    assert not needed
