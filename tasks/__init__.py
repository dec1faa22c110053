"""Tasks are what is learnt: data, network, loss and score; and the command that trains."""

from routers import import_parts

from ._task import Backbone, Batch, Data, Kinds, Layer, Measure, Score, Task, tasks

register = tasks.register
build = tasks.build
available = tasks.available

import_parts(__name__, __path__)

__all__ = [
    "Backbone",
    "Batch",
    "Data",
    "Kinds",
    "Layer",
    "Measure",
    "Score",
    "Task",
    "available",
    "build",
    "register",
    "tasks",
]
