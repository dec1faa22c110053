"""Imports that trials need, done once by the fork server."""

import gc
import importlib
import os
import signal

# clusters send these to every process of a job; the server's end would hide how trials end
for signum in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(signum, signal.SIG_IGN)

#: A job's module, and modules that a run imports when it starts and while it trains.
MODULES = (
    "sweeps.workers.job",
    "tasks.running.run",
    "tasks.training.devices",
    "torch.utils.tensorboard",
    "torch.profiler",
    "sklearn.datasets",
    "sklearn.model_selection",
    "fsspec.implementations.local",
)

for name in MODULES:
    importlib.import_module(name)

os.environ.pop("PYTHONSAFEPATH", None)  # for this import only, not for programs that a trial starts

# garbage collection writes to every object, which would copy the memory that trials share
gc.collect()
gc.freeze()
