"""Tasks define what is learned: data, network, loss and score; and the command that trains."""

from switchyard_moe import check_packages

check_packages("tasks")

from importlib import import_module
from typing import TYPE_CHECKING, Any

from routers.plugins import import_parts

from ._task import (
    BACKBONES,
    TASKS,
    Backbone,
    Baseline,
    Batch,
    Data,
    Labeling,
    Layer,
    MetricSpec,
    Samples,
    Score,
    Task,
)
from .assembly.build import (
    build_backbone,
    build_control,
    build_task,
    prepare_routers,
    read_data,
    routed_layers,
)
from .assembly.recipe import choose
from .augmentations import AUGMENTATIONS, Augmentation
from .config import overrides as overrides
from .config.compose import CONF, compose, experiments, to_yaml, user_path
from .config.layers import LayerSettings, layer_settings, settings_of
from .config.schema import Config
from .edits import EDITS, Context, Edit, apply_edits, read_edits
from .multi_target.sharings import SHARINGS, Parts, Trunk
from .multi_target.weightings import WEIGHTINGS, Weighting
from .readers import DATA, DataSet, Images, Splits, Table, Texts, TextSource
from .running.cli import main, quiet
from .running.compute import Compute, TrainingCompute
from .running.file_lock import file_lock
from .running.launch import RankDiedError, death
from .running.run_dir import (
    CHECKPOINT,
    FORMAT,
    RESULT,
    check_format,
    read_json,
    write_json,
    write_text,
)
from .running.train import train
from .running.trained import load
from .running.validate import check_devices, check_ranges
from .text.unicode_names import read_names
from .training.divergence import DivergedError
from .training.optimizers import OPTIMIZERS
from .training.schedules import SCHEDULES
from .training.signals import STOP_SIGNALS, StoppedError

if TYPE_CHECKING:
    from .running.run import Run as Run
    from .training.module import RoutedModule as RoutedModule

#: Names whose modules import Lightning, which takes longer than all the rest: loaded on first use.
_LAZY = {
    "RoutedModule": ".training.module",
    "Run": ".running.run",
}

register = TASKS.register
build = TASKS.build
available = TASKS.available

import_parts(__name__, __path__)


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name], __name__), name)


__all__ = [
    "AUGMENTATIONS",
    "BACKBONES",
    "CHECKPOINT",
    "CONF",
    "DATA",
    "EDITS",
    "FORMAT",
    "OPTIMIZERS",
    "RESULT",
    "SCHEDULES",
    "SHARINGS",
    "STOP_SIGNALS",
    "TASKS",
    "WEIGHTINGS",
    "Augmentation",
    "Backbone",
    "Baseline",
    "Batch",
    "Compute",
    "Config",
    "Context",
    "Data",
    "DataSet",
    "DivergedError",
    "Edit",
    "Images",
    "Labeling",
    "Layer",
    "LayerSettings",
    "MetricSpec",
    "Parts",
    "RankDiedError",
    "RoutedModule",
    "Run",
    "Samples",
    "Score",
    "Splits",
    "StoppedError",
    "Table",
    "Task",
    "TextSource",
    "Texts",
    "TrainingCompute",
    "Trunk",
    "Weighting",
    "apply_edits",
    "available",
    "build",
    "build_backbone",
    "build_control",
    "build_task",
    "check_devices",
    "check_format",
    "check_ranges",
    "choose",
    "compose",
    "death",
    "experiments",
    "file_lock",
    "layer_settings",
    "load",
    "main",
    "overrides",
    "prepare_routers",
    "quiet",
    "read_data",
    "read_edits",
    "read_json",
    "read_names",
    "register",
    "routed_layers",
    "settings_of",
    "to_yaml",
    "train",
    "user_path",
    "write_json",
    "write_text",
]
