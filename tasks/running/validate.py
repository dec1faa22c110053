"""Settings that no part checks for itself: their ranges and names, in two tables."""

import math
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import NamedTuple

from routers import OptionError
from routers.plugins import unknown
from routers.routing import DROP_ORDERS, ROUNDINGS

from ..assembly.dense_control import CONTROLS
from ..config.schema import Config
from ..training.devices import COUNTS, check_devices
from ..training.optimizers import OPTIMIZERS, SCHEDULES

PRECISIONS = ("32-true", "64-true", "bf16-mixed", "16-mixed", "bf16-true")


class Range(NamedTuple):
    """Which values are allowed, and how to say so."""

    holds: Callable[[float], bool]
    words: str


def _from(least: int, unless: str = "") -> Range:
    return Range(lambda value: value >= least, f"an integer of at least {least}{unless}")


def _up_to(least: int, most: int) -> Range:
    return Range(lambda value: least <= value <= most, f"an integer from {least} to {most}")


#: More experts in a layer than any machine holds; a slip of the finger has more.
MOST_EXPERTS = 2**20

_AT_LEAST_ZERO = Range(lambda value: 0 <= value < math.inf, "a finite number of at least 0")
_BELOW_ONE = Range(lambda value: 0 <= value < 1, "a number from 0 to below 1")

RANGES = {
    "seed": _from(0),
    "trainer.max_epochs": _from(1),
    "trainer.max_steps": Range(lambda v: v > 0 or v == -1, "a positive integer, or -1 for all"),
    "trainer.batch_size": _from(1),
    "trainer.devices": _from(1),
    "trainer.accumulate_grad_batches": _from(1),
    "trainer.gradient_clip_val": _AT_LEAST_ZERO,
    "trainer.threads": _from(1, ", or null for torch's choice"),
    "trainer.log_every_n_steps": _from(1),
    "moe.num_experts": _up_to(1, MOST_EXPERTS),
    "moe.capacity": Range(lambda value: 0 < value < math.inf, "a number above 0, or null"),
    "moe.shared": _up_to(0, MOST_EXPERTS),
    "moe.expert_dropout": _BELOW_ONE,
    "optimizer.lr": Range(lambda value: 0 < value < math.inf, "a finite number above 0"),
    "optimizer.weight_decay": _AT_LEAST_ZERO,
    "optimizer.warmup": _BELOW_ONE,
}

NAMES: dict[str, Iterable[str]] = {
    "trainer.accelerator": COUNTS,
    "trainer.precision": PRECISIONS,
    "moe.drop": DROP_ORDERS,
    "moe.rounding": ROUNDINGS,
    "moe.control": CONTROLS,
    "optimizer.name": OPTIMIZERS,
    "optimizer.schedule": SCHEDULES,
}


def check_ranges(config: Config) -> None:
    """Raise ``ConfigError`` for a setting outside its range; null is for the schema to allow."""
    for key, allowed in RANGES.items():
        value = attrgetter(key)(config)
        if value is not None and not allowed.holds(value):
            raise OptionError(key, value, allowed.words)
    for key, names in NAMES.items():
        name = attrgetter(key)(config)
        if name is not None and name not in names:
            raise unknown(key, name, names)
    trainer = config.trainer
    check_devices(trainer.devices, trainer.accelerator, trainer.batch_size)
