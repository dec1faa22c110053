"""Jobs of a Slurm cluster whose nodes share the sweep's folder."""

import getpass
import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from routers import ConfigError, OptionError
from tasks.readers import check_installed

from ..workers.job import FINAL, Job, read_outcome
from ._base import ENGINES, Engine, Handle
from .local import POLL_SECONDS, run_here

#: Seconds between two questions to Slurm for the states of all jobs.
QUEUE_SECONDS = 5.0

#: States of a job that does not run again; Slurm forgets it some minutes later.
FORGOTTEN = "FORGOTTEN"
ENDED = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY"),
    *("PREEMPTED", "REVOKED", "TIMEOUT", FORGOTTEN),
)


@ENGINES.register("slurm")
class Slurm(Engine):
    """Jobs of a Slurm cluster, submitted by submitit; they continue when the driver has ended.

    A job has the name of its first trial, and Slurm runs one of a name at a time
    (``--dependency=singleton``). Handles hold that name and are stored before jobs are submitted,
    so a driver that takes over finds every job, and none runs twice.

    Args:
        partition: of the cluster; null for its default.
        time: limit of a job in minutes; a trial that needs more continues in another job.
        gpus, cpus: of a trial.
        pack: trials of a job, which run at the same time on one node.
        options: further options of ``sbatch``, such as ``{account: mine, mem: 8G}``.
    """

    outlives_driver: ClassVar[bool] = True

    def __init__(
        self,
        *,
        partition: str | None = None,
        time: int = 60,
        gpus: int = 0,
        cpus: int = 1,
        pack: int = 1,
        options: Mapping[str, Any] = {},
    ) -> None:
        least = {"time": 3, "gpus": 0, "cpus": 1, "pack": 1}  # it is asked to stop 90 s before
        for name, value in {"time": time, "gpus": gpus, "cpus": cpus, "pack": pack}.items():
            if value < least[name]:
                raise OptionError(name, value, f"an integer >= {least[name]}")
        self.check_installed()
        self.cpus, self.pack = cpus, pack
        sbatch = {"dependency": "singleton", "requeue": True, **options}
        self.parameters = {"partition": partition, "time": time, "additional_parameters": sbatch}
        self.for_each = {"cpus_per_task": cpus, **({"gpus_per_node": gpus} if gpus else {})}
        self.packs: list[list[tuple[Job, Handle]]] = []
        self.running: dict[str, Handle] = {}
        self._former: dict[str, str] | None = None
        self._asked = -float("inf")

    def workers(self, devices: int) -> int:
        return 8 * self.pack

    def start(self, job: Job, slot: int) -> Handle:
        if not self.packs or len(self.packs[-1]) == self.pack:
            self.packs.append([])
        pack = self.packs[-1]
        first = pack[0][0] if pack else job
        pack.append((job, {"name": job.name, "outcome": str(job.outcome), "slurm": first.name}))
        return pack[-1][1]

    def poll(self) -> list[tuple[Handle, str]]:
        while self.packs and (len(self.packs[0]) == self.pack or not self.running):
            pack = self.packs[0]  # one that is not full waits until no other trial can fill it
            try:
                self.submit([job for job, _ in pack])
            except ConfigError:
                if self.running:  # it worked before: Slurm is busy, or accepts no more jobs now
                    break
                raise
            self.running |= {handle["name"]: handle for _, handle in self.packs.pop(0)}
        time.sleep(POLL_SECONDS)
        states = None
        if time.monotonic() - self._asked > QUEUE_SECONDS:
            self._asked, states = time.monotonic(), self.states()
        ended = []
        for handle in list(self.running.values()):
            noted = read_outcome(Path(handle["outcome"]))
            state = "RUNNING" if states is None else states.get(handle["slurm"], FORGOTTEN)
            if state == "COMPLETED" and noted is None:
                continue  # this machine does not see yet what the node wrote
            if state in ENDED or (noted and noted[0] in FINAL):
                del self.running[handle["name"]]
                ended.append((handle, f"its Slurm job {handle['slurm']} ended: {state}"))
        return ended

    def stop(self, handle: Handle) -> None:
        held, self.packs = self.packs, []  # Slurm does not know them, so ``poll`` reports their end
        self.running |= {each["name"]: each for pack in held for _, each in pack}
        _slurm("scancel", "--quiet", f"--name={handle['slurm']}")

    def find(self, handle: Handle) -> bool:
        self._former = self.states() if self._former is None else self._former
        if self._former is None:
            raise ConfigError("engine=slurm: squeue fails; run the same command when it answers")
        if self._former.get(handle["slurm"], FORGOTTEN) in ENDED:
            return False
        self.running[handle["name"]] = handle
        return True

    def check_installed(self) -> None:
        """Raise ``ConfigError`` if no job can be submitted from this machine."""
        check_installed("submitit", "slurm", "engine=slurm")
        if shutil.which("sbatch") is None:
            cure = "run on a login node of a Slurm cluster, or with engine=local"
            raise ConfigError(f"engine=slurm: the command sbatch was not found; {cure}")

    def submit(self, jobs: Sequence[Job]) -> None:
        """Submit one job of Slurm for several trials."""
        from submitit import SlurmExecutor
        from submitit.core.utils import FailedJobError

        size = {name: value * len(jobs) for name, value in self.for_each.items()}
        executor = SlurmExecutor(jobs[0].home / "jobs")
        try:
            executor.update_parameters(job_name=jobs[0].name, **size, **self.parameters)
            executor.submit(run_in_slurm, jobs)
        except (FailedJobError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise ConfigError(f"engine=slurm: sbatch failed: {reason}") from error

    def states(self) -> dict[str, str] | None:
        """States of the user's jobs by name; None if Slurm does not answer for the moment."""
        listed = _slurm("squeue", "--noheader", "--states=all", "--format=%j %T")
        if listed.returncode:
            return None
        found: dict[str, str] = {}
        for name, _, state in (line.rpartition(" ") for line in listed.stdout.splitlines()):
            if found.get(name, FORGOTTEN) in ENDED:  # of several with a name, one that runs counts
                found[name] = state
        return found


def run_in_slurm(jobs: Sequence[Job]) -> None:
    """Run jobs on this node, as those of a machine without Slurm: Lightning would requeue them."""
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        del os.environ[name]
    run_here(jobs)


def _slurm(*command: str) -> subprocess.CompletedProcess[str]:
    user = f"--user={getpass.getuser()}"
    return subprocess.run([*command, user], capture_output=True, text=True, check=False)
