"""Energy of a training, by counters of processors."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

#: Where Linux lists the RAPL counters of processors.
POWERCAP = Path("/sys/class/powercap")

#: Longest time between two readings of counters: the smallest starts again after some minutes.
READ_SECONDS = 30.0


@dataclass(frozen=True)
class Counter:
    """A counter of joules.

    Attributes:
        read: its value; raises ``OSError`` if it is unknown.
        span: the value at which it starts again at 0.
    """

    read: Callable[[], float]
    span: float = inf


class Meter:
    """Joules between ``start`` and the last ``add``, over counters.

    Attributes:
        joules: their sum over all starts; None if one cannot be read.
    """

    def __init__(self, counters: Sequence[Counter], joules: float | None = 0.0) -> None:
        self.counters = counters
        self.joules = joules
        self._last: list[float] = []

    def start(self) -> None:
        """Read the counters, without adding what was used since the last reading."""
        try:
            self._last = [counter.read() for counter in self.counters]
        except OSError:
            self.joules = None

    def add(self) -> None:
        """Add what was used since the last reading."""
        before = self._last
        self.start()
        if self.joules is not None:
            used = zip(self.counters, before, self._last, strict=True)
            self.joules += sum((now - then) % counter.span for counter, then, now in used)


def package_counters(folder: Path = POWERCAP) -> list[Counter]:
    """RAPL counters of the processor packages of this machine; empty if they cannot be read.

    A package includes its cores. Memory, and the platform as a whole, have other counters.
    """
    counters = []
    try:
        for zone in sorted(folder.glob("intel-rapl:*")):  # also those of AMD
            if (zone / "name").read_text().startswith("package"):
                span = _joules(zone / "max_energy_range_uj")
                counters.append(Counter(partial(_joules, zone / "energy_uj"), span))
        for counter in counters:
            counter.read()
    except OSError:  # by default only root reads energy_uj
        return []
    return counters


def _joules(path: Path) -> float:
    return int(path.read_text()) / 1e6


def gpu_counters(devices: Iterable[torch.device]) -> list[Counter]:
    """NVML's counters of CUDA devices; empty if one is unknown, or without ``nvidia-ml-py``."""
    try:
        import pynvml
    except ImportError:
        return []

    def read(handle: Any) -> float:
        try:
            return pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000
        except pynvml.NVMLError as error:
            raise OSError(str(error)) from error

    counters = []
    try:
        pynvml.nvmlInit()
        for device in devices:
            name = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
            handle = pynvml.nvmlDeviceGetHandleByUUID(name)
            counters.append(Counter(partial(read, handle)))
            counters[-1].read()
    except (pynvml.NVMLError, OSError):
        return []
    return counters


class EnergyRecord(Callback):
    """Keeps the joules that processors of this machine used while training, not validating.

    Attributes:
        packages: of all processor packages, whatever else they did; None without counters.
        gpus: of the GPUs that the run uses on this machine; None without counters.
    """

    def __init__(self) -> None:
        self.packages, self.gpus = Meter([]), Meter([])
        self._read_at = 0.0

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        strategy = trainer.strategy
        devices = getattr(strategy, "parallel_devices", None) or [strategy.root_device]
        gpus = [device for device in devices if device.type == "cuda"]
        self.packages = _continued(self.packages, package_counters())
        self.gpus = _continued(self.gpus, gpu_counters(gpus) if gpus else [])
        self._start()

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        if time.perf_counter() - self._read_at > READ_SECONDS:
            self._add()

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.state.fn == "fit":
            self._add()

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.state.fn == "fit":
            self._start()

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        self._add()

    def state_dict(self) -> dict[str, float | None]:
        return {"packages": self.packages.joules, "gpus": self.gpus.joules}

    def load_state_dict(self, state_dict: dict[str, float | None]) -> None:
        self.packages.joules, self.gpus.joules = state_dict["packages"], state_dict["gpus"]

    def _start(self) -> None:
        self._read_at = time.perf_counter()
        self.packages.start()
        self.gpus.start()

    def _add(self) -> None:
        self._read_at = time.perf_counter()
        self.packages.add()
        self.gpus.add()


def _continued(meter: Meter, counters: Sequence[Counter]) -> Meter:
    return Meter(counters, meter.joules if counters else None)
