"""One process drives a sweep."""

import os
import socket
import subprocess
import sys

import pytest

from routers import ConfigError
from sweeps.storage.driver_lock import driving

from ..cases import sweep

HOLD = """\
import sys
from pathlib import Path
from sweeps.storage.driver_lock import driving
with driving(Path(sys.argv[1])):
    print("holds", flush=True)
    sys.stdin.read()
"""


def test_a_second_driver_is_refused_until_the_first_is_gone(tmp_path, capsys):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as first:
        assert first.stdout.readline() == b"holds\n"
        words = f"out={tmp_path}: process {first.pid} on {socket.gethostname()} drives this sweep"
        with pytest.raises(ConfigError, match=words), driving(tmp_path):
            pass
        assert sweep(tmp_path, "engine.name=nonsense") == 2
        assert "engine" in capsys.readouterr().err  # its own mistakes come first
        assert sweep(tmp_path, "arms=[nonsense]") == 2  # which only the plan would notice
        assert capsys.readouterr().err.startswith(f"error: {words}")
        first.kill()
    with driving(tmp_path):
        (tmp_path / "driver.json").write_text("{")  # as if it was being written
        with pytest.raises(ConfigError, match="another process drives"), driving(tmp_path):
            pass
    assert os.listdir(tmp_path)
