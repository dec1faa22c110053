"""Routes over a training: churn between its tables, and how far each is like the last."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from routers import comparison

from .table import RouteTable

#: In a run's folder, the tables of routes.
ROUTES = "routes"


def history(tables: Sequence[Path]) -> list[dict[str, Any]]:
    """For each layer the ``steps`` of the tables, ``churn`` and ``saturation`` of each.

    ``churn`` is that from the table before: none for the first one.

    Raises:
        ConfigError: if tables are of other items.
    """
    read = [RouteTable.read(path) for path in tables]
    steps = [table.about["step"] for table in read]
    found = []
    for layers in zip(*(table.layers for table in read), strict=True):
        for layer in layers[1:]:
            layer.check_same_items(layers[0])
        chosen = [layer.routes.chosen for layer in layers]
        changes = [comparison.churn(*pair) for pair in pairwise(chosen)]
        found.append(
            {"steps": steps, "churn": changes, "saturation": comparison.saturation(chosen)}
        )
    return found


def recorded_steps(folder: Path) -> Sequence[Path]:
    """The tables that a training left in the folder of its run, in the order of their steps."""
    paths = (folder / ROUTES).glob("step-*.parquet")
    return sorted(paths, key=step_of)


def step_of(path: Path) -> int:
    """The optimizer step of a table that a training left."""
    return int(path.stem.removeprefix("step-"))
