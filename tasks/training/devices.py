"""Devices of one machine: their number, and Lightning's strategy to train on several."""

import math
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy

from routers import ConfigError, OptionError

from ..loading.batches import Rank

#: Address of the store at which ranks connect: all run on this machine.
HOST = "127.0.0.1"


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


def check_devices(devices: int, accelerator: str, batch_size: int) -> None:
    """Raise ``ConfigError`` unless the machine has the devices and they divide a batch evenly.

    >>> check_devices(3, "cpu", batch_size=32)
    Traceback (most recent call last):
    routers.plugins.errors.OptionError: trainer.devices=3 is invalid: expected a divisor of ...
    """
    if devices > 1 and find_spec("fcntl") is None:
        expected = "1 on this system: several devices need locks that their processes inherit"
        raise OptionError("trainer.devices", devices, expected)
    count = COUNTS[accelerator]()
    if not count:
        raise ConfigError(
            f"trainer.accelerator={accelerator}: torch finds none on this machine; use cpu or auto"
        )
    if devices > count:
        seen = f"the devices torch sees for trainer.accelerator={accelerator}"
        raise OptionError("trainer.devices", devices, f"an integer in [1, {count}], {seen}")
    if batch_size % devices:
        divisor = f"a divisor of trainer.batch_size={batch_size}, since devices take equal shares"
        raise OptionError("trainer.devices", devices, divisor)


def strategies(rank: Rank) -> dict[str, Any]:
    """Arguments of Lightning's ``Trainer`` about devices."""
    if rank.world_size == 1:
        return {"devices": 1}
    return {
        "devices": rank.world_size,
        "strategy": DDPWithoutBarriers(
            cluster_environment=LightningEnvironment(),  # of processes that are started already
            find_unused_parameters=True,
            broadcast_buffers=False,
        ),
        "use_distributed_sampler": False,  # every rank already reads its share
    }


class DDPWithoutBarriers(DDPStrategy):
    """Data parallelism: gradients are means over ranks.

    The module sums its counts over ranks and averages its statistics, so buffers are not
    broadcast; a parameter that a rank does not use in a step has a gradient of zero there.
    Ranks wait for each other only when they exchange numbers, so the first rank can save a
    checkpoint at any time.
    """

    def barrier(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: no rank waits for the others."""


def init_process_group(rank: Rank, port: int, accelerator: str) -> None:
    """Connect to the other ranks, at a store on this machine, for the lifetime of this process."""
    store = dist.TCPStore(HOST, port, rank.world_size, is_master=False)  # type: ignore[attr-defined]
    cuda = accelerator != "cpu" and torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(rank.rank)
    backend = "nccl" if cuda else "gloo"
    dist.init_process_group(backend, store=store, rank=rank.rank, world_size=rank.world_size)
