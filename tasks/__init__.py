"""Tasks are what is learnt: data, network, loss and score; and the command that trains."""

from routers.plugins import import_parts

from ._task import TASKS, Backbone, Batch, Data, Labeling, Layer, MetricSpec, Score, Task
from .assembly.build import build_backbone, build_task
from .config import overrides as overrides
from .config.compose import CONF, compose, to_yaml, user_path
from .config.schema import Config
from .readers import TextSource, read_texts
from .running.cli import quiet
from .running.compute import Compute
from .running.launch import RankDiedError, death
from .running.run import Run
from .running.run_dir import RESULT, read_json, write_json, write_text
from .running.train import train
from .running.validate import check_ranges
from .text.unicode_names import read_names
from .training.divergence import DivergedError
from .training.module import RoutedModule
from .training.signals import StoppedError

register = TASKS.register
build = TASKS.build
available = TASKS.available

import_parts(__name__, __path__)

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
    "to_yaml",
    "train",
    "user_path",
    "write_json",
    "write_text",
]
