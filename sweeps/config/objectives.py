"""Objectives and constraints: numbers in ``result.json`` by dotted path."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from routers import ConfigError, OptionError
from routers.plugins import unknown
from tasks import Compute, Task, TrainingCompute

#: A search must not use the test split: it reads the validation score instead.
READ_IN_SEARCH = {"score.value": "score.validation"}

Direction = Literal["minimize", "maximize"]

DIRECTIONS: dict[str, Direction] = {"maximize": "maximize", "minimize": "minimize"}

_CONSTRAINT = re.compile(r"\s*(?P<metric>[^\s<>=]+)\s*(?P<sign><=|>=)\s*(?P<bound>\S+)\s*$")


@dataclass(frozen=True)
class Objective:
    """A number in ``result.json`` to optimize; ``metric`` is its dotted path."""

    metric: str
    direction: Direction

    @property
    def sign(self) -> float:
        """Factor that turns the objective into one to minimize."""
        return -1.0 if self.direction == "maximize" else 1.0


@dataclass(frozen=True)
class Constraint:
    """``metric <= bound``, or ``>=`` if ``sign`` is -1."""

    text: str
    metric: str
    sign: float
    bound: float

    def violation(self, value: float) -> float:
        """Distance of a value beyond the bound; at most 0 if the constraint holds."""
        return self.sign * (value - self.bound)


def read_objectives(written: Sequence[Any], task: Task) -> list[Objective]:
    """Parse the objectives of a sweep.

    Raises:
        ConfigError: for a metric that no run has, or one without a known direction.
    """
    found = [_objective(each, task) for each in written]
    metrics = [each.metric for each in found]
    if len(set(metrics)) < len(metrics):
        raise OptionError("objectives", metrics, "each metric once")
    return found


def _objective(written: Any, task: Task) -> Objective:
    fields = {"metric": written} if isinstance(written, str) else written
    known = {"metric", "direction"}
    if not isinstance(fields, Mapping) or not {"metric"} <= fields.keys() <= known:
        raise OptionError("objectives", written, "a metric, or {metric: …, direction: …}")
    metric = fields["metric"]
    check_metric("objectives", metric, task)
    default = task.score.direction if metric.startswith("score.") else None
    direction = default if fields.get("direction") is None else fields["direction"]
    if direction is None:
        raise ConfigError(
            f"objectives: {metric}: direction is missing: write "
            f"{{metric: {metric}, direction: minimize}}"
        )
    if direction not in DIRECTIONS:
        raise unknown(f"objectives: {metric}: direction", direction, DIRECTIONS)
    return Objective(metric, DIRECTIONS[direction])


def parse_constraint(text: str) -> Constraint:
    """Parse a constraint such as ``compute.flops_per_item <= 4e6``.

    Raises:
        ConfigError: if it does not have this form.
    """
    match = _CONSTRAINT.match(text)
    if match is None:
        raise OptionError("constraints", text, "METRIC <= NUMBER or METRIC >= NUMBER")
    try:
        bound = float(match["bound"])
    except ValueError:
        raise OptionError("constraints", text, "a number on the right") from None
    return Constraint(text, match["metric"], 1.0 if match["sign"] == "<=" else -1.0, bound)


def check_metric(key: str, metric: str, task: Task) -> None:
    """Raise ``ConfigError`` for a metric that runs of a task do not have."""
    names = known_metrics(task)
    known = metric in names or metric.startswith("layers.")
    if not known and not any("/" in metric and metric.startswith(f"{name}/") for name in names):
        raise unknown(key, metric, names)


def known_metrics(task: Task) -> list[str]:
    """Dotted paths of the numbers that runs of a task have."""
    from routers.metrics import summary_names

    compute = [*Compute.__dataclass_fields__, *TrainingCompute.__dataclass_fields__]
    return [
        "score.value",
        "score.validation",
        *(f"scores.{name}" for name in ("loss", *task.measures())),
        *(f"load.{name}" for name in summary_names()),
        *(f"compute.{name}" for name in compute),
    ]


def number_at(result: Any, path: str) -> float | None:
    """The number at a dotted path; None if there is no number.

    >>> number_at({"layers": [{"cv": 0.5}]}, "layers.0.cv")
    0.5
    """
    value = result
    for key in path.split("."):
        if isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        elif isinstance(value, Mapping) and key in value:
            value = value[key]
        else:
            return None
    return float(value) if isinstance(value, int | float) else None


def searched(results: Sequence[Any], metric: str) -> float:
    """Mean of a metric over seeds as a search sees it: the score is that of validation.

    NaN if a result does not have the metric.
    """
    found = [number_at(result, READ_IN_SEARCH.get(metric, metric)) for result in results]
    known = [value for value in found if value is not None]
    return fmean(known) if known and len(known) == len(found) else math.nan
