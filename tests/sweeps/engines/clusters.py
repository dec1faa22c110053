"""Clusters on loopback that a test starts and stops: Slurm with a node, Ray with two hosts."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from ...waiting import until
from ..servers import free_port

#: A cluster of one node, which claims to have four processors.
SLURM = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
AuthType=auth/none
CredType=cred/none
SlurmUser=root
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@contextmanager
def slurm() -> Iterator[str]:
    """The name of the only node of a cluster to which commands of this process speak."""
    programs = ("slurmctld", "slurmd", "sbatch", "squeue")
    if os.getuid() != 0 or not all(map(shutil.which, programs)):
        pytest.skip("Slurm is not installed, or this is not root: apt-get install slurm-wlm")
    host = socket.gethostname().partition(".")[0]
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="switchyard-slurm-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        for name in ("state", "spool"):
            (folder / name).mkdir()
        ports = {"controller": free_port(), "node": free_port()}
        (folder / "slurm.conf").write_text(SLURM.format(folder=folder, host=host, **ports))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        stack.enter_context(running([["slurmctld", "-D"], ["slurmd", "-D"]]))
        until(lambda: "idle" in said("sinfo", "--noheader", "--format=%T"))
        try:
            yield host
        finally:
            said("scancel", "--user=root")
            until(lambda: not said("squeue", "--noheader"))


@contextmanager
def ray(folder: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """The address of a cluster's head, and the processes of two hosts with a folder each.

    The folders are those that the variable ``SWITCHYARD_HOST`` names on each.
    """
    if find_spec("ray") is None:  # an import would fix the variables below
        pytest.skip("Ray is not installed: pip install -e '.[ray]'")
    variables = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef0123456789abcdef"}
    address = f"127.0.0.1:{free_port()}"
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block"]
    start += ["--disable-usage-stats", "--object-store-memory=100000000"]
    head = [*start, "--head", f"--port={address[10:]}", "--num-cpus=0"]
    head += ["--include-dashboard=false", "--node-ip-address=127.0.0.1"]
    with ExitStack() as stack:
        temporary = tempfile.mkdtemp(prefix="ray-")  # sockets need short paths
        stack.callback(shutil.rmtree, temporary, ignore_errors=True)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in variables.items():
            patch.setenv(name, value)
        join = [*start, f"--address={address}", "--num-cpus=1"]
        commands = {"head": [*head, f"--temp-dir={temporary}"], "one": join, "two": join}
        nodes = []
        for name, command in commands.items():  # one after the other: each takes all processors
            patch.setenv("SWITCHYARD_HOST", str(folder / name))
            output = Path(temporary, f"{name}.out")
            nodes += stack.enter_context(running([command], output))
            until(lambda output=output: "runtime started" in output.read_text())
        yield address, nodes[1:]


@contextmanager
def running(
    commands: list[list[str]], output: Path = Path(os.devnull)
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes of commands, which end with the context, the last one first."""
    with output.open("w") as file:
        started = [subprocess.Popen(command, stdout=file) for command in commands]
    try:
        yield started
    finally:
        for process in reversed(started):
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def said(*command: str) -> str:
    """What a command printed."""
    return subprocess.run(command, capture_output=True, text=True).stdout
