"""The contract of an engine."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

from routers.plugins import Registry

from ..workers.job import Job

#: Names a job that was started, in plain JSON; it is stored with the trial.
Handle = dict[str, Any]


class Engine(ABC):
    """Runs jobs, in a context; options are keyword arguments.

    An engine knows where jobs run and whether they do. How they ended is in their files.

    Attributes:
        cpus: reserved for a trial; None if all trials share the processors of this machine.
        outlives_driver: whether jobs continue when the driver has ended.
    """

    cpus: int | None = None
    outlives_driver: ClassVar[bool] = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def workers(self, devices: int) -> int:
        """How many trials, each on ``devices``, run at a time unless the sweep says so."""
        return 1

    @abstractmethod
    def start(self, job: Job, slot: int) -> Handle:
        """Accept a job, which starts now or during the next ``poll``; ``OSError`` if it cannot.

        ``slot`` is the least number from 0 that no other running job has.
        """

    @abstractmethod
    def poll(self) -> list[tuple[Handle, str]]:
        """Jobs that ended, and how their processes did; waits for one, for about half a second."""

    @abstractmethod
    def stop(self, handle: Handle) -> None:
        """Ask a job to stop with a checkpoint; a second request kills it."""

    def find(self, handle: Handle) -> bool:
        """Whether a job of a former driver still runs; if so, ``poll`` reports its end."""
        return False


ENGINES: Registry[Engine] = Registry("engine", Engine, group="switchyard.engines")
