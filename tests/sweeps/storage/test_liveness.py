"""Liveness of workers: on this host by processes, on other hosts by heartbeats."""

import os
import socket
from pathlib import Path

import pytest

from sweeps.storage.liveness import LivenessMonitor, host_id, start_time, worker_identity


def test_workers_on_other_hosts_are_monitored_by_heartbeats():
    elsewhere = {"host": "elsewhere", "pid": 1, "start": 1}
    patient, impatient = LivenessMonitor(grace=100), LivenessMonitor(grace=-1)
    for monitor in (patient, impatient):
        assert not monitor.is_dead("s", 0, elsewhere, 1)
    assert impatient.is_dead("s", 0, elsewhere, 1)
    assert not impatient.is_dead("s", 0, elsewhere, 2)
    assert not patient.is_dead("s", 0, elsewhere, 1)


def test_a_host_id_is_more_than_the_name_of_the_host():
    start = Path("/proc/sys/kernel/random/boot_id")
    if not start.exists():
        pytest.skip("this system has no boot id")
    assert host_id().split() == [
        socket.gethostname(),
        start.read_text().strip(),
        os.readlink("/proc/self/ns/pid"),
    ]


def test_a_process_without_a_known_start_is_monitored_by_heartbeats():
    unknown = {**worker_identity(), "start": None}
    assert not LivenessMonitor().is_dead("s", 0, unknown, 1)


def test_start_time_of_a_living_and_of_a_missing_process():
    assert start_time(os.getpid()) == start_time(os.getpid())
    assert start_time(2**22 + 1) is None
