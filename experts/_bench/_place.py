"""Where and in what the layers run."""

import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import torch

from routers import OptionError

from ..kernels.allocator import tune_allocator


def nothing() -> None:
    """A CPU has done its work when the call returns."""


#: How to wait for a device.
WAITS: Mapping[str, Callable[[], None]] = MappingProxyType(
    {"cpu": nothing, "cuda": torch.cuda.synchronize}
)

DTYPES: Mapping[str, torch.dtype] = MappingProxyType(
    {"float32": torch.float32, "bfloat16": torch.bfloat16}
)


def check_cpu() -> None:
    """There always is one."""


def check_cuda() -> None:
    """Raise ``ConfigError`` where torch finds no CUDA device."""
    if not torch.cuda.is_available():
        raise OptionError("device", "cuda", "cpu here, for torch finds no CUDA device")


DEVICE_CHECKS: Mapping[str, Callable[[], None]] = MappingProxyType(
    {"cpu": check_cpu, "cuda": check_cuda}
)


def cpu_name() -> str:
    """The processor's model."""
    path = Path("/proc/cpuinfo")  # platform.processor() is empty on most Linux
    lines = path.read_text().splitlines() if path.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


DEVICE_NAMES: Mapping[str, Callable[[], str]] = MappingProxyType(
    {"cpu": cpu_name, "cuda": torch.cuda.get_device_name}
)


def tune() -> str:
    """Ask for the project's settings of the C library's allocator; returns what came of it."""
    return "tuned" if tune_allocator() else "default (tuning it needs glibc)"


def leave() -> str:
    """Leave the allocator as it is."""
    return "default"


ALLOCATORS: Mapping[str, Callable[[], str]] = MappingProxyType({"tuned": tune, "default": leave})
