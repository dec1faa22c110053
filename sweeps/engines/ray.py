"""Tasks of a Ray cluster whose hosts share no folder with the driver."""

import os
import socket
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from routers import ConfigError
from tasks import RESULT
from tasks.readers import check_installed

from ..search.rungs import RUNGS
from ..workers.job import Job
from ._base import ENGINES, Engine, Handle
from .local import POLL_SECONDS, run_here

#: Seconds to wait for the head of the cluster.
CONNECT_SECONDS = 3.0

#: Contents of files by path, relative to the sweep's folder.
Files = dict[str, bytes]


@ENGINES.register("ray")
class Ray(Engine):
    """Tasks of a Ray cluster; small files return with the task, checkpoints stay on its host.

    Tasks end with the driver. Every client of a cluster can run code there, so a token is required
    (``RAY_AUTH_MODE=token``).

    Args:
        address: ``HOST:PORT`` of the head, or ``auto`` for the cluster of this machine.
        folder: on the hosts, for sweeps; may name variables of their environments.
        gpus, cpus: of a trial.
    """

    def __init__(
        self,
        *,
        address: str = "auto",
        folder: str = "~/.cache/switchyard/sweeps",
        gpus: float = 0,
        cpus: int = 1,
    ) -> None:
        check_installed("ray", "ray", "engine=ray")
        self.cpus, self.gpus, self.folder = cpus, gpus, folder
        self.ray = _connect(address)
        options = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": 0}
        self.task = self.ray.remote(**options)(run_on_host)
        self.asked: set[Any] = set()
        self.board: Any = None
        self.running: dict[Any, Job] = {}

    def __exit__(self, *_: object) -> None:
        self.ray.shutdown()

    def workers(self, devices: int) -> int:
        total, each = self.ray.cluster_resources(), {"CPU": self.cpus or 1, "GPU": self.gpus}
        return max(1, int(min(total.get(name, 0) // size for name, size in each.items() if size)))

    def start(self, job: Job, slot: int) -> Handle:
        if self.board is None:
            known = read_files(job.home, job.home.rglob(RUNGS))
            self.board = self.ray.remote(num_cpus=0)(Board).remote(known)
        self.running[self.task.remote(job, self.folder, self.board)] = job
        return {"name": job.name}

    def poll(self) -> list[tuple[Handle, str]]:
        done, _ = self.ray.wait(list(self.running), timeout=POLL_SECONDS)
        ended = []
        for task in done:
            job, reason = self.running.pop(task), "its task ended"
            try:
                write_files(job.home, self.ray.get(task))
            except self.ray.exceptions.RayError as error:
                reason = str(error).strip().splitlines()[0]
            ended.append(({"name": job.name}, reason))
        return ended

    def stop(self, handle: Handle) -> None:
        for task in [task for task, job in self.running.items() if job.name == handle["name"]]:
            self.ray.cancel(task, force=task in self.asked)
            self.asked.add(task)


class Board:
    """Rungs that trials reached, on whatever host: contents of their files by path."""

    def __init__(self, files: Files) -> None:
        self.files = files

    def exchange(self, own: Files) -> Files:
        """Add files of a host, and return those of all."""
        self.files |= own
        return self.files


def run_on_host(job: Job, folder: str, board: Any) -> Files:
    """Run a job on this host, in its own folder for the sweep; returns its small files."""
    import ray

    home = Path(os.path.expandvars(folder)).expanduser() / job.sweep
    seen = home / "rungs" / job.name  # of trials on all hosts
    job = job.moved(home)

    def exchange() -> None:
        own = read_files(home, (run / RUNGS for run, _ in job.runs))
        write_files(seen, ray.get(board.exchange.remote(own)))

    if job.rungs is not None:
        folders = [seen / each.relative_to(home) for each in job.rungs.folders]
        job = replace(job, rungs=replace(job.rungs, folders=folders))
    run_here([job], exchange if job.rungs else None)
    paths = [path for run, _ in job.runs for path in run.glob("*") if "lock" not in path.name]
    return read_files(home, [job.log, *paths, job.outcome])


def read_files(home: Path, paths: Iterable[Path]) -> Files:
    """Contents of those paths that are files, by path relative to ``home``."""
    files = [path for path in paths if path.is_file()]
    return {path.relative_to(home).as_posix(): path.read_bytes() for path in files}


def write_files(home: Path, files: Files) -> None:
    """Write files into a folder, each whole or not at all, those with results last."""
    for name in sorted(files, key=lambda name: name.endswith(RESULT)):
        path = home / name
        if not path.resolve().is_relative_to(home.resolve()):
            raise ConfigError(f"engine=ray: {name} is not in the folder of the sweep")
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        part.write_bytes(files[name])
        os.replace(part, path)


def _connect(address: str) -> Any:
    """The module ``ray``, connected to a cluster."""
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "3")  # a second each, with a wrong token
    import ray

    named = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    host, _, port = named.rpartition(":")
    try:
        if port.isdecimal():  # Ray itself would wait for minutes
            socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
        ray.init(address=address, log_to_driver=False, logging_level="error")
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = str(error).strip().splitlines()[0]
        cure = "start one with RAY_AUTH_MODE=token ray start --head, or name it by engine.address"
        raise ConfigError(f"engine=ray: no head at {named} ({reason}); {cure}") from error
    return ray
