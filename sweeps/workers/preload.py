"""What trials need, imported once by the process they are forked from."""

import gc
import importlib

#: Beside what importing a job brings along: what a run imports on its way.
MODULES = (
    "sweeps.workers.job",
    "tasks",
    "torch.utils.tensorboard",
    "torch.profiler",
    "sklearn.datasets",
    "fsspec.implementations.local",
)

for name in MODULES:
    importlib.import_module(name)

# collecting garbage writes to every object, and so copies the memory that trials share
gc.collect()
gc.freeze()
