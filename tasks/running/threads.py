"""CPU threads of a run: chosen by its work and by what the machine has free."""

import os

from joblib import cpu_count  # type: ignore[import-untyped]

#: Value of ``trainer.threads`` that stands for this choice.
AUTO = "auto"

#: Work of a training step, in FLOPs, below which more threads cost more than they save.
SMALL_STEP = 1e9


def choose_threads(step_flops: float) -> int:
    """One thread for small steps, else one for each core that is free.

    Cores are those of this process (its affinity, the quota of a container), at most
    ``OMP_NUM_THREADS``.

    >>> choose_threads(step_flops=1e6)
    1
    """
    limit = os.environ.get("OMP_NUM_THREADS", "")
    cores = min(cpu_count(), int(limit)) if limit.isdigit() else cpu_count()
    free = max(1, min(cores, round(cpu_count() - machine_load())))
    return free if step_flops >= SMALL_STEP else 1


def machine_load() -> float:
    """Mean number of processes that want a core, over the last minute.

    0 if the system hides it, or if this process may use only some cores: the load is that of all.
    """
    if cpu_count() != os.cpu_count() or not hasattr(os, "getloadavg"):
        return 0.0
    return os.getloadavg()[0]


def load_warning() -> list[str]:
    """A line, if other processes want more cores than there are."""
    load, cores = machine_load(), cpu_count()
    if load <= cores:
        return []
    cure = "training will be slow; wait, or lower trainer.threads"
    return [f"warning: the machine is busy: load {load:.1f} on {cores} cores; {cure}"]
