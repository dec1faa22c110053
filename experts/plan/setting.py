"""Settings of a plan: a layer, its rows, and the devices; read from ``key=value``."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from routers import ConfigError, OptionError
from routers.plugins import check_options, parse_options

from .._bank import EXPERTS

_MAY_BE_0 = ("shared", "latency", "state_bytes")

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}


def _key(default: Any, description: str) -> Any:
    return field(default=default, metadata={"description": description})


@dataclass(frozen=True)
class Setting:
    """A layer on a cluster. Rates are those of one device; ``parse`` checks values."""

    expert: str = _key("glu", "architecture of the experts, for rows that are tokens")
    dim: int = _key(2048, "D, width")
    hidden: int | None = _key(None, "hidden width of an expert; null: its default")
    experts: int = _key(64, "E, experts of a layer")
    k: float = _key(2, "rows of experts per token")
    shared: int = _key(0, "shared experts, which work on every token")
    layers: int = _key(1, "routed layers, all alike")
    tokens: int = _key(8192, "tokens of one device in a step")
    dtype: str = _key("bfloat16", "of parameters and rows: float32, bfloat16, float64")
    skew: float = _key(1.0, "rows of the busiest expert relative to the mean; 1 to E")
    load: str | None = _key(
        None, "recorded load instead of k and skew: JSON (E) or (devices, E), or a result.json"
    )
    devices: int = _key(8, "devices that share the batch")
    expert_parallel: int = _key(8, "devices among which the experts are split; 1: none")
    devices_per_node: int = _key(8, "devices that node_bandwidth connects")
    peak: float = _key(9.9e14, "FLOP/s")
    memory: float = _key(8e10, "bytes")
    memory_bandwidth: float = _key(3.35e12, "bytes/s")
    activation_rate: float | None = _key(
        None, "bytes/s that activations read and write; null: memory_bandwidth"
    )
    node_bandwidth: float = _key(4.5e11, "bytes/s that a device sends within its node")
    network_bandwidth: float = _key(5e10, "bytes/s that a device sends to other nodes")
    latency: float = _key(2e-5, "seconds of an exchange of nothing")
    state_bytes: float = _key(8, "bytes of optimizer state per parameter")


def parse(arguments: Iterable[str]) -> Setting:
    """Read ``key=value`` arguments; ``ConfigError`` for the first invalid one.

    >>> parse(["experts=16", "peak=1e12"]).experts
    16
    >>> parse(["experts=6", "expert_parallel=4"])
    Traceback (most recent call last):
    routers.plugins.errors.OptionError: plan.experts=6 is invalid: expected a multiple of ...
    """
    options = parse_options(list(arguments))
    check_options("plan", Setting, options, 0)
    setting = Setting(**options)
    try:
        _check(setting)
    except OptionError as error:
        raise error.under("plan") from error.__cause__
    return setting


def describe() -> str:
    """List every key with its default and description, one per line."""
    lines = {f"{key.name}={_shown(key.default)}": key for key in fields(Setting)}
    width = max(map(len, lines))
    return "\n".join(f"  {line:{width}}  {lines[line].metadata['description']}" for line in lines)


def _shown(value: object) -> str:
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _check(setting: Setting) -> None:
    for key in fields(Setting):
        value = getattr(setting, key.name)
        if isinstance(value, str) or value is None:
            continue
        may_be_0 = key.name in _MAY_BE_0
        if not 0 <= value < math.inf or (value == 0 and not may_be_0):
            raise OptionError(key.name, value, f"a number {'>= 0' if may_be_0 else 'above 0'}")
    if setting.dtype not in DTYPES:
        raise OptionError("dtype", setting.dtype, f"one of {', '.join(DTYPES)}")
    if setting.devices % setting.expert_parallel:
        expected = f"a divisor of devices={setting.devices}"
        raise OptionError("expert_parallel", setting.expert_parallel, expected)
    if setting.experts % setting.expert_parallel:
        expected = f"a multiple of expert_parallel={setting.expert_parallel}"
        raise OptionError("experts", setting.experts, expected)
    if not 1 <= setting.skew <= setting.experts:
        raise OptionError("skew", setting.skew, f"a number in [1, experts={setting.experts}]")
    EXPERTS.get_part(setting.expert)


def rows_of(setting: Setting) -> torch.Tensor:
    """Rows that each device of a group sends to each expert in a step, ``(n, E)`` float64.

    >>> rows_of(Setting(experts=4, expert_parallel=2, tokens=100, k=1, skew=2.0)).tolist()
    [[50.0, 16.67, 16.67, 16.67], [50.0, 16.67, 16.67, 16.67]]
    """
    n, e = setting.expert_parallel, setting.experts
    if setting.load is None:
        shares = torch.full((e,), (1 - setting.skew / e) / max(e - 1, 1), dtype=torch.float64)
        shares[0] = setting.skew / e
    else:
        load = _recorded(Path(setting.load))
        if load.dim() == 2 and load.shape == (n, e):
            return load
        if load.shape != (e,) or load.sum() == 0:
            shape = tuple(load.shape)
            expected = f"a load of shape ({e},) or ({n}, {e}) with a row, got {shape}"
            raise OptionError("plan.load", setting.load, expected)
        shares = load / load.sum()
    return (setting.tokens * setting.k * shares).expand(n, e)


def _recorded(path: Path) -> torch.Tensor:
    """The load in a file; of a run's layers, that of the most uneven one."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            found = max((layer["load"] for layer in found["layers"]), key=_imbalance)
        return torch.tensor(found, dtype=torch.float64)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f"plan.load={path} is invalid: expected a JSON file of rows per expert, or the "
            f"result.json of a run ({type(error).__name__}: {error})"
        ) from error


def _imbalance(load: Sequence[float]) -> float:
    return max(load) * len(load) / max(sum(load), 1)
