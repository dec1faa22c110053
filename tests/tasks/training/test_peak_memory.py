"""Peak memory of a training: what came before it does not count."""

import sys
from types import SimpleNamespace

import pytest
import torch

from tasks.training.peak_memory import PeakMemoryRecord, ProcessMemory

MIB = 2**20


def trainer_on(kind):
    return SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device(kind)))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such measure")
def test_of_a_process_since_the_reset():
    before = bytearray(96 * MIB)
    del before
    memory = ProcessMemory()
    memory.reset()
    start = memory.peak()
    during = bytearray(48 * MIB)
    del during
    assert 32 * MIB < memory.peak() - start < 64 * MIB


def test_unknown_where_it_cannot_be_reset(tmp_path):
    (tmp_path / "status").write_text("VmHWM:\t     7 kB\n")
    memory = ProcessMemory(tmp_path / "missing")
    memory.reset()
    assert memory.peak() is None
    memory = ProcessMemory(tmp_path)
    memory.reset()
    assert memory.peak() == 7 * 1024
    assert (tmp_path / "clear_refs").read_text() == "5"


def test_of_a_resumed_run():
    first = PeakMemoryRecord()
    first.load_state_dict({"bytes": 2**60})
    assert first.bytes == 2**60  # also where no step is left
    first.on_train_start(trainer_on("cpu"), None)
    assert first.state_dict() == {"bytes": 2**60}
    first.on_train_start(trainer_on("meta"), None)
    assert first.bytes is None
