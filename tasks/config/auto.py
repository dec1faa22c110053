"""``auto``: values that a configuration leaves to the data, until a recipe chooses them."""

from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig, OmegaConf

from .._task import Task

#: Stands for a value that the data chooses.
AUTO = "auto"

#: Keys of the sections ``moe``, ``optimizer`` and ``trainer`` that can be ``auto``. So can be
#: ``expert``, and options of the task that its class names in ``Task.auto``.
KEYS = (
    "moe.num_experts",
    "optimizer.name",
    "optimizer.lr",
    "optimizer.weight_decay",
    "optimizer.warmup",
    "trainer.batch_size",
    "trainer.max_epochs",
    "trainer.max_steps",
)

#: Seconds that ``trainer.budget`` allows for training on two cores, about.
BUDGETS = {"quick": 20.0, "normal": 120.0, "thorough": 600.0}


def hold_places(config: DictConfig, read_base: Callable[[], DictConfig]) -> list[str]:
    """Replace every ``auto`` among ``KEYS`` by the value of a base; returns the keys.

    The base is read only if there is one, since it takes longer than all else.

    >>> config = OmegaConf.create({"optimizer": {"lr": "auto", "name": "sgd"}})
    >>> base = OmegaConf.create({"optimizer": {"lr": 0.002}})
    >>> hold_places(config, lambda: base), config.optimizer.lr
    (['optimizer.lr'], 0.002)
    """
    keys = [key for key in KEYS if OmegaConf.select(config, key, throw_on_missing=False) == AUTO]
    if keys:
        base = read_base()
        for key in keys:
            OmegaConf.update(config, key, OmegaConf.select(base, key))
    return keys


def auto_parts(task: type[Task], options: dict[str, Any], expert: dict[str, Any]) -> list[str]:
    """Keys of the expert and of the options of a task that are ``auto``, or name such a part."""
    own = [f"task.{name}" for name in task.auto if _is_auto(options.get(name))]
    return own + ["expert"] * _is_auto(expert)


def _is_auto(value: Any) -> bool:
    return value == AUTO or (isinstance(value, dict) and value.get("name") == AUTO)
