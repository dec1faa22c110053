"""Ranges and names of the settings that no part checks."""

import math
from collections.abc import Callable, Iterable
from operator import attrgetter

from routers import OptionError
from routers.plugins import unknown
from routers.routing import DROP_ORDERS, ROUNDINGS

from ..assembly.dense_control import CONTROLS
from ..config.schema import Config
from ..training.devices import COUNTS, check_devices
from ..training.optimizers import OPTIMIZERS, SCHEDULES

PRECISIONS = ("32-true", "64-true", "bf16-mixed", "16-mixed", "bf16-true")


#: A range of values, and its description.
Range = tuple[Callable[[float], bool], str]


def _from(minimum: int, unless: str = "") -> Range:
    return lambda value: value >= minimum, f"an integer >= {minimum}{unless}"


def _between(low: int, high: int) -> Range:
    return lambda value: low <= value <= high, f"an integer in [{low}, {high}]"


#: Largest number of experts in a layer; more is taken for a typing error.
MAX_EXPERTS = 2**20

_NON_NEGATIVE: Range = (lambda value: 0 <= value < math.inf, "a finite number >= 0")
_BELOW_ONE: Range = (lambda value: 0 <= value < 1, "a number in [0, 1)")

RANGES: dict[str, Range] = {
    "seed": _from(0),
    "trainer.max_epochs": _from(1),
    "trainer.max_steps": (lambda v: v > 0 or v == -1, "an integer >= 1, or -1 for all"),
    "trainer.batch_size": _from(1),
    "trainer.devices": _from(1),
    "trainer.accumulate_grad_batches": _from(1),
    "trainer.gradient_clip_val": _NON_NEGATIVE,
    "trainer.threads": _from(1, ", or null for torch's choice"),
    "trainer.log_every_n_steps": _from(1),
    "moe.num_experts": _between(1, MAX_EXPERTS),
    "moe.capacity": (lambda value: 0 < value < math.inf, "a number > 0, or null"),
    "moe.shared": _between(0, MAX_EXPERTS),
    "moe.expert_dropout": _BELOW_ONE,
    "optimizer.lr": (lambda value: 0 < value < math.inf, "a finite number > 0"),
    "optimizer.weight_decay": _NON_NEGATIVE,
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
    for key, (holds, description) in RANGES.items():
        value = attrgetter(key)(config)
        if value is not None and not holds(value):
            raise OptionError(key, value, description)
    for key, names in NAMES.items():
        name = attrgetter(key)(config)
        if name is not None and name not in names:
            raise unknown(key, name, names)
    trainer = config.trainer
    check_devices(trainer.devices, trainer.accelerator, trainer.batch_size)
