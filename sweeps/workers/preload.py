"""Imports that trials need, done once by the fork server."""

import gc
import importlib

#: A job's module, and modules that a run imports while it trains.
MODULES = (
    "sweeps.workers.job",
    "tasks",
    "torch.utils.tensorboard",
    "torch.profiler",
    "sklearn.datasets",
    "sklearn.model_selection",
    "fsspec.implementations.local",
)

for name in MODULES:
    importlib.import_module(name)

# garbage collection writes to every object, which would copy the memory that trials share
gc.collect()
gc.freeze()
