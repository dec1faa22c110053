"""The machine and the process that results depend on."""

import os
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ..kernels.allocator import tune_allocator
from .settings import Settings
from .timing import WARMUP_ROUNDS

_PACKAGES = ("switchyard", "transformers", "pytorch-mixtures", "st-moe-pytorch", "numpy")

#: Prefixes of environment variables that affect performance.
_VARIABLES = ("OMP_", "MKL_", "MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD", "PYTORCH_", "CUDA_VISIBLE")


@dataclass(frozen=True)
class Environment:
    """Device, PyTorch version, threads and allocator in effect during the measurements."""

    device_name: str
    torch: str
    threads: int
    allocator: str
    warmup: int = WARMUP_ROUNDS


def set_up(settings: Settings) -> Environment:
    """Set threads and allocator of this process as configured; return the state in effect."""
    allocator = "default"
    if settings.allocator == "tuned":
        allocator = "tuned" if tune_allocator() else "default (tuning requires glibc)"
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    return Environment(
        device_name=torch.cuda.get_device_name() if settings.device == "cuda" else _cpu_name(),
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        allocator=allocator,
    )


def columns(settings: Settings, environment: Environment) -> dict[str, Any]:
    """Columns that each line of the CSV file repeats: settings and environment."""
    chosen = {key: value for key, value in asdict(settings).items() if key not in ("out", "shapes")}
    if settings.candidates is not None:
        chosen["candidates"] = " ".join(settings.candidates)
    # the environment overrides the settings: threads=null becomes the actual number
    return {**chosen, **asdict(environment)}


def record(settings: Settings, environment: Environment) -> dict[str, Any]:
    """Settings, environment, package versions and variables, for the JSON file."""
    return {
        "settings": asdict(settings),
        **asdict(environment),
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
    threads = "1 thread" if environment.threads == 1 else f"{environment.threads} threads"
    return (
        f"{environment.device_name} · {settings.dtype} · {threads} · "
        f"allocator {environment.allocator} · fresh batch each round · "
        f"median of {settings.rounds} rounds after {environment.warmup} warm-up rounds · "
        f"torch {environment.torch}"
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
