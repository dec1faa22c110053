"""Ranges and names of the settings that no part checks."""

import math
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any

import torch

from routers import ConfigError, OptionError
from routers.plugins import option_errors_under, unknown
from routers.routing import DROP_ORDERS, ROUNDINGS, check_skip

from ..assembly.dense_control import CONTROLS
from ..config.auto import BUDGETS
from ..config.distil import read_distil
from ..config.init import read_init
from ..config.layers import layer_settings
from ..config.schema import Config, TrainerConfig
from ..edits import read_edits
from ..training.optimizers import check_optimizer, check_unchosen
from ..training.strategies import KEY as STRATEGY
from ..training.strategies import find_strategy
from .threads import AUTO


def _gpus() -> float:
    return torch.cuda.device_count() or int(torch.backends.mps.is_available())


#: Number of devices of this machine by accelerator; a CPU allows any number of processes.
COUNTS: dict[str, Callable[[], float]] = {
    "auto": lambda: _gpus() or math.inf,
    "cpu": lambda: math.inf,
    "cuda": torch.cuda.device_count,
    "gpu": _gpus,
    "mps": lambda: int(torch.backends.mps.is_available()),
}

PRECISIONS = ("32-true", "64-true", "bf16-mixed", "16-mixed", "bf16-true")


#: A range of values, and its description.
Range = tuple[Callable[[Any], bool], str]


def _between(low: int, high: int, unless: str = "") -> Range:
    return lambda value: low <= value <= high, f"an integer in [{low}, {high}]{unless}"


#: Key of the number of experts in a layer.
_EXPERTS = "moe.num_experts"

#: Largest number of experts in a layer; more is taken for a typing error.
MAX_EXPERTS = 2**20

#: Most threads; many more abort the process in C.
MAX_THREADS = 1024

_COUNT = _between(1, 2**31 - 1)

_NON_NEGATIVE: Range = (lambda value: 0 <= value < math.inf, "a finite number >= 0")
_ANY: Range = (lambda value: True, "")
_BELOW_ONE: Range = (lambda value: 0 <= value < 1, "a number in [0, 1)")

RANGES: dict[str, Range] = {
    "seed": (lambda value: value >= 0, "an integer >= 0"),
    "trainer.max_epochs": _COUNT,
    "trainer.max_steps": (lambda v: v == -1 or 0 < v < 2**31, f"{_COUNT[1]}, or -1 for all"),
    "trainer.batch_size": _COUNT,
    "trainer.devices": _COUNT,
    "trainer.num_nodes": _COUNT,
    "trainer.accumulate_grad_batches": _COUNT,
    "trainer.gradient_clip_val": _NON_NEGATIVE,
    "trainer.threads": (
        lambda value: value == AUTO or (isinstance(value, int) and 1 <= value <= MAX_THREADS),
        f"an integer in [1, {MAX_THREADS}], or null for torch's choice, or {AUTO}",
    ),
    "trainer.log_every_n_steps": _COUNT,
    "moe.num_experts": _between(1, MAX_EXPERTS),
    "moe.capacity": (lambda value: 0 < value < math.inf, "a number > 0, or null"),
    "moe.shared": _between(0, MAX_EXPERTS),
    "moe.expert_dropout": _BELOW_ONE,
    "moe.rounds": _COUNT,
    "moe.sub_tokens": _COUNT,
    "moe.share_router": _COUNT,
    "moe.share_bank": _COUNT,
    "optimizer.lr": (lambda value: 0 < value < math.inf, "a finite number > 0"),
    "optimizer.weight_decay": _NON_NEGATIVE,
    "optimizer.warmup": _BELOW_ONE,
}

NAMES: dict[str, Iterable[str]] = {
    "trainer.accelerator": COUNTS,
    "trainer.budget": BUDGETS,
    "trainer.precision": PRECISIONS,
    "moe.drop": DROP_ORDERS,
    "moe.rounding": ROUNDINGS,
    "moe.control": CONTROLS,
}


def check_ranges(config: Config) -> None:
    """Raise ``ConfigError`` for a setting outside its range; null is for the schema to allow.

    The machine does not matter, and Lightning, which takes seconds to import, is not needed.
    """
    for key in (*RANGES, *NAMES):
        _check_value(key, key, attrgetter(key)(config))
    for settings in layer_settings(config):
        for key, source in settings.sources.items():
            if key in RANGES or key in NAMES:
                _check_value(key, source, attrgetter(key)(settings))
        with settings.errors(), option_errors_under("moe.skip"):
            check_skip(settings.moe.skip)
    init = read_init(config.init)
    if init is not None and init.edits:
        read_edits("init.edits", init.edits)
    read_distil(config.distil)
    check = check_unchosen if "optimizer.name" in config.auto else check_optimizer
    check(config.optimizer)
    _check_shares(config.trainer)
    parts = find_strategy(config.trainer).parts
    numbers = {each.key(_EXPERTS): each.moe.num_experts for each in layer_settings(config)}
    if _EXPERTS in config.auto:  # the data may choose it
        numbers.pop(_EXPERTS, None)
    for key, number in numbers.items():
        if number % parts:
            cure = f"{STRATEGY}=fsdp2 takes any number of experts"
            raise OptionError(f"{STRATEGY}.size", parts, f"a divisor of {key}={number}", cure)


def _check_value(key: str, source: str, value: Any) -> None:
    """Raise ``ConfigError`` for a value of a key outside its range, naming the ``source``."""
    holds, description = RANGES.get(key, _ANY)
    if value is not None and not holds(value):
        raise OptionError(source, value, description)
    if value is not None and value not in NAMES.get(key, (value,)):
        raise unknown(source, value, NAMES[key])


def check_devices(trainer: TrainerConfig) -> None:
    """Raise ``ConfigError`` unless the machine has the devices."""
    devices, count = trainer.devices, COUNTS[trainer.accelerator]()
    about = f"trainer.accelerator={trainer.accelerator}"
    if not count:
        raise ConfigError(f"{about}: torch finds none on this machine; use cpu or auto")
    if devices > count:
        seen = f"the devices torch sees for {about}"
        raise OptionError("trainer.devices", devices, f"an integer in [1, {count}], {seen}")


def _check_shares(trainer: TrainerConfig) -> None:
    """Raise ``ConfigError`` unless the devices divide a batch evenly."""
    devices, size, nodes = trainer.devices, trainer.batch_size, trainer.num_nodes
    if size % (devices * nodes):
        product = f"a number whose product with trainer.num_nodes={nodes} divides"
        expected = f"{'a divisor of' if nodes == 1 else product} trainer.batch_size={size}"
        shares = f"{expected}, since devices take equal shares"
        raise OptionError("trainer.devices", devices, shares)
