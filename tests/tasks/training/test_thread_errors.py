"""Errors of threads that the main thread raises again."""

import shutil
import threading

import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from tasks.training.thread_errors import raised_once


def test_a_lost_folder_of_tensorboard_is_one_error(tmp_path, monkeypatch):
    printed = []
    monkeypatch.setattr(threading, "excepthook", printed.append)
    with raised_once():
        writer = EventFileWriter(str(tmp_path / "logs"))
        shutil.rmtree(tmp_path / "logs")
        writer.add_event(Event(step=1))
        with pytest.raises(FileNotFoundError):
            writer.flush()
    assert not printed


def test_other_errors_of_threads_are_printed(monkeypatch):
    printed = []
    monkeypatch.setattr(threading, "excepthook", printed.append)
    with raised_once():
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()
    assert [each.exc_type for each in printed] == [ZeroDivisionError]
    assert threading.excepthook == printed.append
