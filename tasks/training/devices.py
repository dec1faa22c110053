"""Devices of a run and the processes that train on them: their number, and which this one is."""

import os
import warnings
from collections.abc import Callable, Mapping

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lsf import LSFEnvironment
from lightning.fabric.plugins.environments.mpi import MPIEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from routers import ConfigError, OptionError

from ..config.schema import TrainerConfig
from ..loading.batches import Rank

#: What starts the processes of a run from outside, in the order in which Lightning looks.
ENVIRONMENTS: dict[str, Callable[[], ClusterEnvironment | None]] = {
    "torchrun": lambda: TorchElasticEnvironment() if TorchElasticEnvironment.detect() else None,
    # a run requeues itself by resume=auto
    "srun": lambda: SLURMEnvironment(auto_requeue=False) if SLURMEnvironment.detect() else None,
    "jsrun": lambda: LSFEnvironment() if LSFEnvironment.detect() else None,
    "mpirun": lambda: MPIEnvironment() if MPIEnvironment.detect() else None,
}


def find_environment() -> tuple[str, ClusterEnvironment] | None:
    """Find what started this process as one of several, as ``torchrun``; None if it is alone.

    ``ConfigError`` if its settings are incomplete.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as advice to use srun where it is installed
        for name, find in ENVIRONMENTS.items():
            try:
                found = find()
            except (RuntimeError, ValueError, KeyError) as error:
                raise ConfigError(f"{name}: {error}") from error
            if found is not None:
                return (name, found) if found.world_size() > 1 else None
    return None


def join_ranks(trainer: TrainerConfig) -> Rank:
    """Connect to the other processes of the run; returns which of them this one is.

    A process that was started alone is the first, and starts the others when it trains.
    ``ConfigError`` if their number is not that of the configuration.
    """
    devices, nodes, found = trainer.devices, trainer.num_nodes, find_environment()
    world = devices * nodes
    if found is None:
        if nodes > 1:
            cure = (
                "Start it on each machine, with torchrun "
                f"--nnodes={nodes} --nproc-per-node={devices} --rdzv-backend=c10d "
                "--rdzv-endpoint=HOST:29500 -m tasks …, or with srun in a Slurm job"
            )
            expected = "1 for a process that was started alone"
            raise OptionError("trainer.num_nodes", nodes, expected, cure)
        return Rank(0, world)
    name, environment = found
    rank = Rank(environment.global_rank(), environment.world_size())
    if rank.world_size != world:
        expected = f"a number whose product with trainer.num_nodes={nodes} is {rank.world_size}"
        cure = f"{name} started {rank.world_size} processes"
        raise OptionError("trainer.devices", devices, f"{expected}, since {cure}")
    if not dist.is_initialized():
        _check_restarts(os.environ)
        cuda = trainer.accelerator != "cpu" and torch.cuda.is_available()
        if cuda:
            torch.cuda.set_device(environment.local_rank())
        os.environ["MASTER_ADDR"] = environment.main_address
        os.environ["MASTER_PORT"] = str(environment.main_port)
        backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
        dist.init_process_group(backend, rank=rank.rank, world_size=world)
    return rank


def _check_restarts(variables: Mapping[str, str]) -> None:
    """Raise ``ConfigError`` if processes that start again may read addresses of those before.

    The agent's store keeps them: https://github.com/pytorch/pytorch/issues/135712.
    """
    restarts = variables.get("TORCHELASTIC_MAX_RESTARTS", "0")
    if restarts != "0" and variables.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        raise ConfigError(
            f"torchrun: --max-restarts={restarts} may fail to connect processes again; set "
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 for it, with --rdzv-backend=c10d"
        )
