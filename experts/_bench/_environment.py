"""What the numbers depend on beside the settings."""

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from ._place import ALLOCATORS, DEVICE_NAMES
from ._race import WARMUP
from ._settings import Settings

_PACKAGES = ("switchyard", "transformers", "pytorch-mixtures", "st-moe-pytorch", "numpy")

#: Variables that change how a process runs.
_VARIABLES = ("OMP_", "MKL_", "MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD", "PYTORCH_", "CUDA_VISIBLE")


@dataclass(frozen=True)
class Environment:
    """The machine and the process, as they are while measuring."""

    device_name: str
    torch: str
    threads: int
    allocator: str
    warmup: int = WARMUP


def enter(settings: Settings) -> Environment:
    """Set threads and allocator as asked, and say what holds now."""
    allocator = ALLOCATORS[settings.allocator]()
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    return Environment(
        device_name=DEVICE_NAMES[settings.device](),
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        allocator=allocator,
    )


def columns(settings: Settings, environment: Environment) -> dict[str, Any]:
    """Settings as they took effect, for each line of the CSV file."""
    given = {key: value for key, value in asdict(settings).items() if key not in ("out", "shapes")}
    if settings.contestants is not None:
        given["contestants"] = " ".join(settings.contestants)
    # what a setting came to replaces what was asked: threads=null is a number by now
    return {**given, **asdict(environment)}


def record(settings: Settings, environment: Environment) -> dict[str, Any]:
    """All of it, for the file beside the results."""
    return {
        "settings": asdict(settings),
        **asdict(environment),
        "versions": {name: _version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "cuda": torch.version.cuda,
        "variables": _variables(os.environ),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def headline(settings: Settings, environment: Environment) -> str:
    """What holds for every number of a table, on one line."""
    return (
        f"{environment.device_name} · {settings.dtype} · {_threads(environment.threads)} · "
        f"allocator {environment.allocator} · fresh batch each round · median of {settings.rounds} "
        f"after {environment.warmup} of warm-up · torch {environment.torch}"
    )


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _variables(environ: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in sorted(environ.items()) if key.startswith(_VARIABLES)}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
