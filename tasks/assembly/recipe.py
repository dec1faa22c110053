"""Values that a configuration leaves to the data, chosen by the recipe of its task."""

import json
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from operator import attrgetter
from typing import Any

import torch

from experts import count_flops
from routers import ConfigError

from .._task import Backbone, Batch, Data, Task
from ..config.auto import BUDGETS, KEYS
from ..config.compose import complete
from ..config.layers import of_experts
from ..config.max_time import read_max_time
from ..config.schema import Config
from ..loading.batches import limited, num_rows
from .build import build_backbone, build_task, enough_memory_for_data, read_data
from .dense_control import num_parameters

#: Seconds that a parameter adds to a training step on two cores, and seconds of any step. Like
#: ``Task.speed`` they are fixed: the same data gets the same number of steps on every machine.
PER_PARAMETER, PER_STEP = 4e-9, 0.008

#: A training step costs as much as this many evaluations.
STEP = 3

#: Rates that suit an optimizer which is not the one of the recipe.
OPTIMIZERS: dict[str, dict[str, float]] = {
    "adamw": {"lr": 0.002, "weight_decay": 0.05},
    "sgd": {"lr": 0.1, "weight_decay": 0.0005},
}

#: Samples by which the FLOPs of a network are counted.
_FEW = 16


def choose(config: Config, task: Task) -> tuple[Config, Task, list[str]]:
    """Replace every ``auto`` by a value that the recipe of the task chooses for its data.

    Returns the configuration, the task that it describes, which reads nothing again, and what was
    chosen as ``key=value``. What the configuration names stays, and the rest fits to it. Neither
    the router nor the seed has an influence, nor the speed of the machine.
    """
    if not config.auto:
        return config, task, []
    keys, config = config.auto, deepcopy(config)
    limit = config.trainer.max_time
    budget = BUDGETS[config.trainer.budget]
    seconds = budget if limit is None else read_max_time(limit).total_seconds()
    own = (f"task.{option}" for option in task.auto)
    given = {key: _get(config, key) for key in ("expert", *own, *KEYS) if key not in keys}
    given = {k: v["name"] if isinstance(v, dict) else v for k, v in given.items()}
    with enough_memory_for_data(config):
        chosen = task.recipe(seconds, given)
    recipe = {"expert": {"name": "mlp"}, **chosen}
    recipe |= _rates(config, keys, recipe)
    for key in keys:
        _set(config, key, recipe)
    changes = {key: deepcopy(_get(config, key)) for key in keys if key in recipe}
    config.auto = []
    try:
        complete(config)
    except ConfigError as error:
        parts = [(key, recipe[key]) for key in keys if isinstance(recipe.get(key), dict)]
        names = ", ".join(f"{key}={part['name']}" for key, part in parts)
        raise ConfigError(f"{error}; the data chose {names}; name another one") from error
    built = build_task(config, task.same_data())
    if "trainer.max_epochs" in keys:
        _limit(config, built, read_data(config, built), seconds, "trainer.max_steps" in keys)
        changes |= {key: _get(config, key) for key in keys if key.startswith("trainer.max")}
    return config, built, [f"{key}={_flow(value)}" for key, value in changes.items()]


def _get(config: Config, key: str) -> Any:
    section, _, name = key.partition(".")
    return config.task[name] if section == "task" else attrgetter(key)(config)


def _set(config: Config, key: str, recipe: dict[str, Any]) -> None:
    """Set a key to the value of the recipe, if it has one; written options of a part stay."""
    section, _, name = key.partition(".")
    value = recipe.get(key)
    if key == "expert":
        config.expert = {**recipe[key], **_options(config.expert)}
    elif section == "task":
        written = _options(config.task.pop(name))
        if written or value is not None:
            config.task[name] = {**(value or {}), **written} if written else value
    elif value is not None:
        setattr(getattr(config, section), name, value)


def _options(written: Any) -> dict[str, Any]:
    """Options that are written for a part without a name."""
    given = written if isinstance(written, dict) else {}
    return {option: value for option, value in given.items() if option != "name"}


def _flow(value: Any) -> str:
    """A value of names and numbers as YAML on one line.

    >>> _flow({"name": "mlp", "hidden": 64})
    '{name: mlp, hidden: 64}'
    """
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(inner)}" for key, inner in value.items()) + "}"
    return value if isinstance(value, str) else json.dumps(value)


def _rates(config: Config, keys: Sequence[str], recipe: dict[str, Any]) -> dict[str, float]:
    """Rates for an optimizer that the configuration names, if the recipe is for another one."""
    name = config.optimizer.name
    if "optimizer.name" in keys or name == recipe.get("optimizer.name", name):
        return {}
    rates = OPTIMIZERS.get(name, OPTIMIZERS["adamw"])  # most others adapt their steps too
    return {f"optimizer.{option}": rate for option, rate in rates.items()}


def _limit(config: Config, task: Task, data: Data, seconds: float, steps_too: bool) -> None:
    """Lower the epochs to those that fit into the time; if none does, the steps, if they may.

    A number of steps that the configuration gives decides how many epochs there are.
    """
    settings, limits = config.trainer, config.trainer.lightning
    batches = num_rows(data.train) // settings.batch_size
    steps = max(1, limited(batches, limits.get("limit_train_batches")))
    if not steps_too and settings.max_steps > 0:  # enough epochs for all of them
        settings.max_epochs = -(-settings.max_steps * settings.accumulate_grad_batches // steps)
        return
    step = seconds_per_step(config, task, data.train)
    batches = -(-num_rows(data.val) // settings.batch_size)
    evaluation = limited(batches, limits.get("limit_val_batches")) * step / STEP
    epochs = int(seconds / (steps * step + evaluation))
    settings.max_epochs = max(1, min(settings.max_epochs, epochs))
    if epochs < 1 and steps_too:
        settings.max_steps = max(1, int(seconds / (step * settings.accumulate_grad_batches)))


def seconds_per_step(config: Config, task: Task, train: Batch) -> float:
    """About how long a training step takes on two cores, from counted FLOPs and parameters."""
    router = {"name": "uniform", "k": 1}
    moe = replace(config.moe, control=None, capacity=None)
    layers = of_experts(config.layers)
    network = build_backbone(replace(config, router=router, moe=moe, layers=layers), task)
    few = {name: values[:_FEW] for name, values in train.items()}
    flops = count_flops(lambda: _evaluate(network, task.collate(few))) / num_rows(few)
    per_sample = STEP * flops / task.speed + network.seconds_per_sample
    per_batch = per_sample * config.trainer.batch_size
    return PER_STEP + PER_PARAMETER * num_parameters(network) + per_batch


@torch.no_grad()
def _evaluate(network: Backbone, batch: Batch) -> None:
    network.eval()(batch)
