"""Settings of ``python -m experts bench``: keys, parsing and validation."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, get_args, get_type_hints

import torch
from omegaconf import OmegaConf

from routers import ConfigError, OptionError
from routers.plugins import fits_hint, hint_mismatch, nearest_name, unknown

from .candidates import Shape

DTYPES: Mapping[str, torch.dtype] = MappingProxyType(
    {"float32": torch.float32, "bfloat16": torch.bfloat16}
)

_CHOICES: Mapping[str, Collection[str]] = MappingProxyType(
    {
        "device": ("cpu", "cuda"),
        "dtype": DTYPES,
        "over": ("shapes", "experts"),
        "allocator": ("tuned", "default"),
    }
)

#: Keys without effect when ``over=experts``.
_SHAPE_KEYS = ("shapes", "skew", "candidates")


def _key(default: Any, description: str) -> Any:
    return field(default=default, metadata={"description": description})


@dataclass(frozen=True)
class Settings:
    """Settings of a benchmark run. ``check`` validates values."""

    device: str = _key("cpu", "device of layers and batches: cpu, cuda")
    dtype: str = _key("float32", "dtype of inputs and parameters: float32, bfloat16")
    over: str = _key(
        "shapes", "shapes: compare candidates at several shapes; experts: cost as E grows to 4096"
    )
    shapes: Sequence[int] = _key((1, 2, 3, 4, 5, 6), "shapes to run, for example 1,4")
    rounds: int = _key(30, "measured rounds, after 8 warm-up rounds")
    threads: int | None = _key(None, "CPU threads; null: PyTorch's default")
    allocator: str = _key("tuned", "tuned: call experts.tune_allocator() first; default: do not")
    seed: int = _key(0, "seed of weights and batches")
    skew: float | None = _key(
        None, "also run topk with its busiest expert at this multiple of the mean load; 1 to E/K"
    )
    candidates: Sequence[str] | None = _key(
        None, "candidates to run besides dense and topk, for example loop,st_moe; null: all"
    )
    out: str = _key("runs/bench", "output folder for results (CSV), plots and environment (JSON)")


def parse(arguments: Sequence[str]) -> Settings:
    """Parse ``key=value`` arguments; the last value of a key is used.

    Raises:
        ConfigError: for an unknown key or a value of the wrong type.

    >>> parse(["shapes=1,4", "rounds=5"]).shapes
    (1, 4)
    """
    return Settings(**dict(map(_parse_argument, arguments)))


def describe() -> str:
    """List every key with its default and description, one per line."""
    lines = [f"{key.name}={_format(key.default)}" for key in fields(Settings)]
    width = max(map(len, lines))
    return "\n".join(
        f"  {line:{width}}  {key.metadata['description']}"
        for line, key in zip(lines, fields(Settings), strict=True)
    )


def check(settings: Settings, shapes: Mapping[int, Shape], candidates: Collection[str]) -> None:
    """Validate settings before anything runs.

    Args:
        settings: values of the right types.
        shapes: shapes by number.
        candidates: names of all candidates.

    Raises:
        ConfigError: for the first invalid setting.
    """
    for key, allowed in _CHOICES.items():
        _check_name(key, getattr(settings, key), allowed)
    if not torch.get_device_module(settings.device).is_available():
        raise OptionError("device", settings.device, "cpu", "PyTorch finds no CUDA device")
    _check_subset("shapes", settings.shapes, shapes)
    if settings.candidates is not None:
        _check_subset("candidates", settings.candidates, candidates)
    if settings.rounds < 1:
        raise OptionError("rounds", settings.rounds, "an integer >= 1")
    if settings.threads is not None and settings.threads < 1:
        raise OptionError("threads", settings.threads, "an integer >= 1, or null")
    if not 0 <= settings.seed < 2**63:
        raise OptionError("seed", settings.seed, "an integer in [0, 2**63)")
    if settings.skew is not None:
        for number in settings.shapes:
            # at most, all tokens select the same experts
            most = shapes[number].num_experts / shapes[number].k
            if not math.isfinite(settings.skew) or not 1 <= settings.skew <= most:
                expected = f"a number in [1, E/K={most:g}] for shape {number}"
                raise OptionError("skew", settings.skew, expected)
    if settings.over == "experts":
        for key in _SHAPE_KEYS:
            if getattr(settings, key) != getattr(Settings(), key):
                raise ConfigError(
                    f"{key}={_format(getattr(settings, key))} is invalid: it has no effect with "
                    "over=experts; remove it or use over=shapes"
                )


def _check_name(key: str, value: Any, allowed: Collection[Any]) -> None:
    if value not in allowed:
        raise unknown(key, value, map(str, allowed))


def _check_subset(key: str, values: Sequence[Any], allowed: Collection[Any]) -> None:
    for value in values:
        _check_name(key, value, allowed)
    if not values or len(set(values)) < len(values):
        expected = f"one or more of {_format(allowed)}, without duplicates"
        raise OptionError(key, _format(values), expected)


def _parse_argument(argument: str) -> tuple[str, Any]:
    key, equals, text = argument.partition("=")
    hints = get_type_hints(Settings)
    if not equals:
        raise ConfigError(f"{argument} is invalid: expected key=value; see --help")
    if key not in hints:
        raise ConfigError(f"{key}: {nearest_name(key, hints)}")
    if key == "out":
        return key, text  # a path stays text even if YAML reads it as a number
    value = _parse_yaml(key, text, hints[key])
    if not fits_hint(value, hints[key]):
        raise ConfigError(f"{key}={text} is invalid: {hint_mismatch(value, hints[key])}")
    return key, tuple(value) if isinstance(value, list) else value


def _parse_yaml(key: str, text: str, hint: Any) -> Any:
    """Parse a value as YAML; ``1,2`` is a list if the key accepts lists."""
    accepts_list = any(fits_hint([], part) for part in (hint, *get_args(hint)))
    if accepts_list and text != "null" and not text.startswith("["):
        text = f"[{text}]"
    try:
        parsed: Any = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]))
    except Exception as error:  # the YAML parser raises many types
        raise ConfigError(f"{key}={text} is invalid: expected YAML; quote the value") from error
    return parsed["value"]


def _format(value: Any) -> str:
    if isinstance(value, str) or not isinstance(value, Iterable):
        return "null" if value is None else str(value)
    return ",".join(map(str, value))
