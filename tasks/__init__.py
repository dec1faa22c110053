"""Tasks are what is learnt: data, network, loss and score; and the command that trains."""

from routers import import_parts

from . import _overrides as overrides
from ._build import build_backbone, build_task
from ._check import check_ranges
from ._cli import quiet
from ._compute import Compute
from ._config import CONF, compose, to_yaml, user_path
from ._diverged import DivergedError
from ._folder import RESULT, read_json, write_json, write_text
from ._launch import RankDiedError, death
from ._module import RoutedModule
from ._names import read_names
from ._readers import TextSource, read_texts
from ._run import Run
from ._schema import Config
from ._stop import StoppedError
from ._task import Backbone, Batch, Data, Kinds, Layer, Measure, Score, Task, tasks
from ._train import train

register = tasks.register
build = tasks.build
available = tasks.available

import_parts(__name__, __path__)

__all__ = [
    "CONF",
    "RESULT",
    "Backbone",
    "Batch",
    "Compute",
    "Config",
    "Data",
    "DivergedError",
    "Kinds",
    "Layer",
    "Measure",
    "RankDiedError",
    "RoutedModule",
    "Run",
    "Score",
    "StoppedError",
    "Task",
    "TextSource",
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
    "read_names",
    "read_texts",
    "register",
    "tasks",
    "to_yaml",
    "train",
    "user_path",
    "write_json",
    "write_text",
]
