"""Locks of files, with fcntl and without."""

import sys
from contextlib import ExitStack
from importlib import import_module

import pytest

from tasks.running import file_lock as module
from tasks.running.file_lock import file_lock

from ..cases import TINY, main


@pytest.fixture(params=["fcntl", "filelock"])
def system(request, monkeypatch):
    """A system with fcntl, and one without."""
    if request.param == "filelock":
        import_module("filelock")  # it looks for fcntl itself
        monkeypatch.setattr(module, "find_spec", lambda name: None)
        monkeypatch.setitem(sys.modules, "fcntl", None)
    return request.param


def test_one_holder_at_a_time(system, tmp_path):
    with ExitStack() as held:
        held.enter_context(file_lock(tmp_path / "lock"))
        with pytest.raises(BlockingIOError):
            held.enter_context(file_lock(tmp_path / "lock", wait=False))
    with pytest.raises(KeyError), file_lock(tmp_path / "lock"):
        raise KeyError
    with file_lock(tmp_path / "lock", wait=False):
        pass


def test_a_run_at_work_is_refused(system, tmp_path, capsys):
    with file_lock(tmp_path / "lock"):
        assert main([*TINY, f"out={tmp_path}"]) == 2
    assert f"out={tmp_path}: another process trains there now" in capsys.readouterr().err
