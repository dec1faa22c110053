"""Peak memory of a training."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

#: Where Linux describes this process.
PROC = Path("/proc/self")


class DeviceMemory:
    """Tensors on a CUDA device, as PyTorch's allocator counts them."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def reset(self) -> None:
        """Forget the peak so far."""
        torch.cuda.reset_peak_memory_stats(self.device)

    def peak(self) -> int | None:
        """Bytes since the reset; None if unknown."""
        return torch.cuda.max_memory_allocated(self.device)


class ProcessMemory:
    """Resident memory of this process, by Linux.

    ``getrusage`` is no measure here: its peak cannot be reset, and a forked process begins with
    that of its parent.
    """

    def __init__(self, folder: Path = PROC) -> None:
        self.folder = folder
        self.known = False

    def reset(self) -> None:
        """Forget the peak so far, by what Linux has for it; without it the peak is unknown."""
        try:
            (self.folder / "clear_refs").write_text("5")
            self.known = True
        except OSError:  # another system, or not allowed
            self.known = False

    def peak(self) -> int | None:
        """Bytes since the reset; None if unknown."""
        if not self.known:
            return None
        found = re.search(r"^VmHWM:\s*(\d+) kB$", (self.folder / "status").read_text(), re.M)
        return int(found[1]) * 1024 if found else None


#: How the memory of a type of device is measured.
MEASURES: dict[str, Callable[[torch.device], DeviceMemory | ProcessMemory]] = {
    "cuda": DeviceMemory,
    "cpu": lambda _: ProcessMemory(),
}


class PeakMemoryRecord(Callback):
    """Keeps the peak memory of the training in this process, with its validations."""

    def __init__(self) -> None:
        self._memory: DeviceMemory | ProcessMemory | None = None
        self._before: int | None = 0  # of a resumed run

    @property
    def bytes(self) -> int | None:
        """The peak; None on a device, or a system, that does not tell."""
        if self._memory is None or self._before is None:
            return self._before
        peak = self._memory.peak()
        return None if peak is None else max(peak, self._before)

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        device = trainer.strategy.root_device
        if device.type not in MEASURES:
            self._before = None
            return
        self._memory = MEASURES[device.type](device)
        self._memory.reset()

    def state_dict(self) -> dict[str, Any]:
        return {"bytes": self.bytes}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._before = state_dict["bytes"]
