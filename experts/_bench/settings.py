"""Settings of ``python -m experts bench``, and the environment in which they run."""

import os
import platform
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, get_args, get_type_hints

import torch
from omegaconf import OmegaConf

from routers import ConfigError, OptionError
from routers.plugins import fits_hint, hint_mismatch, nearest_name, unknown

from ..kernels.allocator import tune_allocator
from .candidates import Shape
from .measuring import WARMUP_ROUNDS

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

_CHOICES: Mapping[str, Collection[str]] = {
    "device": ("cpu", "cuda"),
    "dtype": DTYPES,
    "over": ("shapes", "experts"),
    "allocator": ("tuned", "default"),
}

_PACKAGES = ("switchyard-moe", "transformers", "pytorch-mixtures", "st-moe-pytorch", "numpy")

#: Prefixes of environment variables that affect performance.
_VARIABLES = ("OMP_", "MKL_", "MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD", "PYTORCH_", "CUDA_VISIBLE")


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


def parse(arguments: Iterable[str]) -> Settings:
    """Parse ``key=value`` arguments, of which the last of a key is used; else ``ConfigError``.

    >>> parse(["shapes=1,4", "rounds=5"]).shapes
    (1, 4)
    """
    values: dict[str, Any] = {}
    hints = get_type_hints(Settings)
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if not equals:
            raise ConfigError(f"{argument} is invalid: expected key=value; see --help")
        if key not in hints:
            raise ConfigError(f"{key}: {nearest_name(key, hints)}")
        # a path stays text even if YAML reads it as a number
        values[key] = text if key == "out" else _parse_value(key, text, hints[key])
    return Settings(**values)


def describe() -> str:
    """List every key with its default and description, one per line."""
    lines = {f"{key.name}={_format(key.default)}": key for key in fields(Settings)}
    width = max(map(len, lines))
    return "\n".join(f"  {line:{width}}  {lines[line].metadata['description']}" for line in lines)


def check(settings: Settings, shapes: Mapping[int, Shape], candidates: Collection[str]) -> None:
    """Validate settings of the right types; ``ConfigError`` for the first invalid one."""
    for key, allowed in _CHOICES.items():
        _check_names(key, [getattr(settings, key)], allowed)
    if not torch.get_device_module(settings.device).is_available():
        raise OptionError("device", settings.device, "cpu", "PyTorch finds no CUDA device")
    _check_names("shapes", settings.shapes, shapes)
    if settings.candidates is not None:
        _check_names("candidates", settings.candidates, candidates)
    if settings.rounds < 1:
        raise OptionError("rounds", settings.rounds, "an integer >= 1")
    if settings.threads is not None and settings.threads < 1:
        raise OptionError("threads", settings.threads, "an integer >= 1, or null")
    if not 0 <= settings.seed < 2**63:
        raise OptionError("seed", settings.seed, "an integer in [0, 2**63)")
    for number in settings.shapes:
        # at most, all tokens select the same experts
        most = shapes[number].num_experts / shapes[number].k
        if settings.skew is not None and not 1 <= settings.skew <= most:  # or NaN
            expected = f"a number in [1, E/K={most:g}] for shape {number}"
            raise OptionError("skew", settings.skew, expected)
    for key in ("shapes", "skew", "candidates"):
        value = getattr(settings, key)
        if settings.over == "experts" and value != getattr(Settings(), key):
            problem = "it has no effect with over=experts; remove it or use over=shapes"
            raise ConfigError(f"{key}={_format(value)} is invalid: {problem}")


def _check_names(key: str, values: Sequence[Any], allowed: Collection[Any]) -> None:
    for value in values:
        if value not in allowed:
            raise unknown(key, value, map(str, allowed))
    if not values or len(set(values)) < len(values):
        expected = f"one or more of {_format(allowed)}, without duplicates"
        raise OptionError(key, _format(values), expected)


def _parse_value(key: str, text: str, hint: Any) -> Any:
    """Parse a value as YAML; ``1,2`` is a list if the key accepts lists."""
    accepts_list = any(fits_hint([], part) for part in (hint, *get_args(hint)))
    bare = accepts_list and text != "null" and not text.startswith("[")
    written = f"[{text}]" if bare else text
    try:
        parsed: Any = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={written}"]))
    except Exception as error:  # the YAML parser raises many types
        raise ConfigError(f"{key}={written} is invalid: expected YAML; quote the value") from error
    value = parsed["value"]
    if not fits_hint(value, hint):
        raise ConfigError(f"{key}={text} is invalid: {hint_mismatch(value, hint)}")
    return tuple(value) if isinstance(value, list) else value


def _format(value: Any) -> str:
    if isinstance(value, str) or not isinstance(value, Iterable):
        return "null" if value is None else str(value)
    return ",".join(map(str, value))


#: Device, PyTorch version, threads and allocator in effect during the measurements.
Environment = Mapping[str, Any]


def set_up(settings: Settings) -> Environment:
    """Set threads and allocator of this process as configured; return the state in effect."""
    allocator = "default"
    if settings.allocator == "tuned":
        allocator = "tuned" if tune_allocator() else "default (tuning requires glibc)"
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    return {
        "device_name": torch.cuda.get_device_name() if settings.device == "cuda" else _cpu_name(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "allocator": allocator,
        "warmup": WARMUP_ROUNDS,
    }


def columns(settings: Settings, environment: Environment) -> dict[str, Any]:
    """Columns that each line of the CSV file repeats: settings and environment."""
    chosen = {key: value for key, value in asdict(settings).items() if key not in ("out", "shapes")}
    if settings.candidates is not None:
        chosen["candidates"] = " ".join(settings.candidates)
    # the environment overrides the settings: threads=null becomes the actual number
    return {**chosen, **environment}


def record(settings: Settings, environment: Environment) -> dict[str, Any]:
    """Settings, environment, package versions and variables, for the JSON file."""
    return {
        "settings": asdict(settings),
        **environment,
        "versions": {name: _version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "cuda": torch.version.cuda,
        "variables": {k: v for k, v in sorted(os.environ.items()) if k.startswith(_VARIABLES)},
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def headline(settings: Settings, environment: Environment) -> str:
    """Summarize the conditions of all numbers in a table on one line."""
    threads = "1 thread" if environment["threads"] == 1 else f"{environment['threads']} threads"
    return (
        f"{environment['device_name']} · {settings.dtype} · {threads} · "
        f"allocator {environment['allocator']} · fresh batch each round · "
        f"median of {settings.rounds} rounds after {WARMUP_ROUNDS} warm-up rounds · "
        f"torch {environment['torch']}"
    )


def _cpu_name() -> str:
    path = Path("/proc/cpuinfo")  # platform.processor() is empty on most Linux systems
    lines = path.read_text().splitlines() if path.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
