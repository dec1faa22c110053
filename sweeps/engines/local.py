"""Processes on this machine."""

import os
import signal
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Self

from tasks import STOP_SIGNALS, death

from ..workers.forkserver import trial_context, warm_up
from ..workers.job import (
    DIED,
    GPUS,
    STOPPED,
    Job,
    drop_outcome,
    note_outcome,
    outcome_of,
    work,
)
from ._base import ENGINES, Engine, Handle

#: Longest time to wait for the end of a job, in seconds.
POLL_SECONDS = 0.5


@ENGINES.register("local")
class Local(Engine):
    """Processes on this machine, each with its own GPUs if there are any."""

    def __init__(self) -> None:
        self.context = trial_context()
        self.gpus = visible_gpus()
        self.running: dict[str, BaseProcess] = {}
        self.asked: set[str] = set()

    def __enter__(self) -> Self:
        warm_up()
        return self

    def workers(self, devices: int) -> int:
        return max(1, len(self.gpus) // devices)

    def start(self, job: Job, slot: int) -> Handle:
        warm_up()  # again, if the fork server or its resource tracker was killed
        process = self.context.Process(target=work, args=(job, self._share(slot, job.devices)))
        try:
            process.start()
        except (EOFError, ConnectionError) as error:  # the next start restarts it
            raise OSError("the fork server was killed") from error
        self.running[job.name] = process
        return {"name": job.name}

    def poll(self) -> list[tuple[Handle, str]]:
        ended = []
        wait([process.sentinel for process in self.running.values()], POLL_SECONDS)
        for name, process in list(self.running.items()):
            if process.exitcode is not None:
                del self.running[name]
                self.asked.discard(name)
                ended.append(({"name": name}, death(process.exitcode)))
                process.close()
        return ended

    def stop(self, handle: Handle) -> None:
        name = handle["name"]
        if name in self.running and name in self.asked:
            self.running[name].kill()
        elif name in self.running:
            self.running[name].terminate()
            self.asked.add(name)

    def _share(self, slot: int, devices: int) -> str | None:
        """The GPUs of a slot; all have equally many, and share them if there are too few."""
        if not self.gpus:
            return None
        first = slot % self.workers(devices) * devices
        return ",".join(self.gpus[first : first + devices])


def visible_gpus() -> list[str]:
    """Names of the GPUs that this process may use."""
    import torch

    count = torch.cuda.device_count()
    named = os.environ.get(GPUS)
    return named.split(",")[:count] if named else [str(number) for number in range(count)]


def run_here(jobs: Sequence[Job], each_turn: Callable[[], None] | None = None) -> None:
    """Run jobs at the same time on this machine until all have ended, and note which died.

    Signals ask them to stop with a checkpoint. ``each_turn`` is called at least twice a second.
    """
    for job in jobs:
        drop_outcome(job)
    named = {job.name: job for job in jobs}
    asked: list[int] = []

    def ask(signum: int, _: object) -> None:
        asked.append(signum)  # a cluster may repeat it

    before = {signum: signal.signal(signum, ask) for signum in STOP_SIGNALS}
    with Local() as engine:
        handles = [engine.start(job, slot) for slot, job in enumerate(jobs)]
        while named:
            while asked and handles:
                engine.stop(handles.pop())
            for handle, reason in engine.poll():
                if outcome_of(job := named.pop(handle["name"])) is None:
                    note_outcome(job, STOPPED if asked else DIED, reason)
            if each_turn is not None:
                each_turn()
    for signum, handler in before.items():
        signal.signal(signum, handler)
