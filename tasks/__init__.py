"""Tasks define what is learned: data, network, loss and score; and the command that trains."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from routers import import_parts

from ._task import TASKS, Backbone, Batch, Data, Labeling, Layer, MetricSpec, Score, Task
from .assembly.build import build_backbone, build_task
from .config import overrides as overrides
from .config.compose import CONF, compose, user_path
from .config.schema import Config
from .running.cli import quiet
from .running.compute import Compute
from .running.launch import RankDiedError, death
from .running.run_dir import RESULT, read_json, write_json, write_text
from .running.train import train
from .training.divergence import DivergedError
from .training.signals import StoppedError

if TYPE_CHECKING:
    from .running.validate import check_ranges as check_ranges
    from .training.module import RoutedModule as RoutedModule

#: Names whose modules import Lightning, which takes longer than all the rest: loaded on first use.
_LAZY = {"RoutedModule": ".training.module", "check_ranges": ".running.validate"}

register = TASKS.register
build = TASKS.build
available = TASKS.available

import_parts(__name__, __path__)


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name], __name__), name)


__all__ = [
    "CONF",
    "RESULT",
    "TASKS",
    "Backbone",
    "Batch",
    "Compute",
    "Config",
    "Data",
    "DivergedError",
    "Labeling",
    "Layer",
    "MetricSpec",
    "RankDiedError",
    "RoutedModule",
    "Score",
    "StoppedError",
    "Task",
    "available",
    "build",
    "build_backbone",
    "build_task",
    "check_ranges",
    "compose",
    "death",
    "overrides",
    "quiet",
    "read_json",
    "register",
    "train",
    "user_path",
    "write_json",
    "write_text",
]
