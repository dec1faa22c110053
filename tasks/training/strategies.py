"""How several processes train one network: Lightning's strategies by name."""

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch.distributed as dist
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.plugins import DoublePrecision
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from torch import nn
from torch.optim import Optimizer

from routers import ConfigError, OptionError
from routers.plugins import Registry

from ..config.named_part import split_part
from ..config.schema import TrainerConfig
from ..loading.batches import Rank
from .devices import find_environment

KEY = "trainer.strategy"

#: Strategies by name; ``module:Class`` names any other of Lightning.
STRATEGIES: Registry[Strategy] = Registry(KEY, Strategy, group="switchyard.strategies")

#: Those that a run on one device can have.
ALONE = ("auto", "ddp")


@STRATEGIES.register("auto")
@STRATEGIES.register("ddp")
class DataParallel(DDPStrategy):
    """Every process holds the network; gradients are means over processes.

    The module sums its counts over ranks and averages its statistics, so buffers are not
    broadcast; a parameter that a rank does not use in a step has a gradient of zero there.
    """

    def __init__(
        self, *, find_unused_parameters: bool = True, gradient_as_bucket_view: bool = False
    ) -> None:
        super().__init__(
            find_unused_parameters=find_unused_parameters,
            gradient_as_bucket_view=gradient_as_bucket_view,
            broadcast_buffers=False,
        )


@STRATEGIES.register("fsdp2")
class FullySharded(ModelParallelStrategy):
    """FSDP2: parameters, gradients and optimizer states are divided among the processes.

    Args:
        single_file: write checkpoints as one file, gathered by the first process; else each
            process writes its part to a folder.
    """

    parts = 1  #: processes among which the experts of a layer are divided

    def __init__(self, *, single_file: bool = False) -> None:
        super().__init__(
            tensor_parallel_size=self.parts, save_distributed_checkpoint=not single_file
        )

    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_nodes * self.num_processes // self.parts
        super().setup_environment()

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        is_new = not optimizer.state
        state = super().optimizer_state(optimizer)
        if is_new:
            optimizer.state.clear()  # torch takes a step without gradients to have one to save
        return state

    def load_checkpoint(
        self, checkpoint_path: str | Path, weights_only: bool | None = None
    ) -> dict[str, Any]:
        saved = super().load_checkpoint(checkpoint_path, weights_only)
        if saved["global_step"] == 0:
            for optimizer in self.optimizers:
                optimizer.state.clear()
        return saved

    def shard(self, backbone: nn.Module) -> None:
        """Divide the parameters of a network, once; those of the first process count."""
        import experts

        if is_sharded(backbone):
            return
        for values in (*backbone.parameters(), *backbone.buffers()):
            if values.numel():
                dist.broadcast(values.detach(), 0)
        if self.parts > 1:
            experts.parallelize(backbone, self.device_mesh, "tensor_parallel")
        containers = (nn.ModuleList, nn.ModuleDict)  # have no forward
        blocks = [
            each
            for each in backbone.modules()
            if each is not backbone
            and not isinstance(each, containers)
            and any(isinstance(inner, experts.MoE) for inner in each.children())
        ]
        experts.fully_shard_layers(backbone, self.device_mesh, blocks=blocks)


@STRATEGIES.register("expert_parallel")
class ExpertParallel(FullySharded):
    """Each process works on a part of the experts; all parameters are sharded by FSDP2.

    Args:
        size: processes among which the experts of a layer are divided.
        single_file: as for ``fsdp2``.
    """

    def __init__(self, *, size: int, single_file: bool = False) -> None:
        if size < 2:
            raise OptionError("size", size, "an integer >= 2")
        self.parts = size
        super().__init__(single_file=single_file)


def build_strategy(trainer: TrainerConfig) -> Strategy:
    """The strategy of a configuration; ``ConfigError`` if there is none of that name."""
    name, options = split_part(KEY, trainer.strategy)
    processes = trainer.devices * trainer.num_nodes
    strategy = STRATEGIES.build(name, **options)
    if processes == 1 and name not in ALONE:
        raise OptionError(KEY, name, "auto on one device", "Set trainer.devices")
    parts = getattr(strategy, "parts", 1)
    if processes % parts:
        expected = f"a divisor of the {processes} processes"
        raise OptionError(f"{KEY}.size", parts, expected)
    return strategy


def check_fits(trainer: TrainerConfig, backbone: nn.Module) -> None:
    """Raise ``ConfigError`` if the strategy cannot divide the experts of a network."""
    import experts

    parts = getattr(build_strategy(trainer), "parts", 1)
    try:
        if parts > 1:
            experts.check_split(backbone, parts)
    except ConfigError as error:
        raise ConfigError(f"{KEY}={trainer.strategy}: {error}; here, {KEY}=fsdp2") from error


def strategy_options(trainer: TrainerConfig, rank: Rank) -> dict[str, Any]:
    """Arguments of Lightning's ``Trainer`` about devices and precision, for a rank of a run."""
    if rank.world_size == 1:
        return {
            "devices": 1,
            "precision": trainer.precision,
            "plugins": [LightningEnvironment()],
        }
    found, strategy = find_environment(), build_strategy(trainer)
    # Lightning refuses float64 for FSDP2 by its name only
    double = [DoublePrecision()] if trainer.precision == "64-true" else []
    return {
        "devices": trainer.devices,
        "num_nodes": trainer.num_nodes,
        "strategy": strategy,
        "inference_mode": not isinstance(strategy, FullySharded),  # which gathers parameters
        "precision": None if double else trainer.precision,
        "plugins": [LightningEnvironment() if found is None else found[1], *double],
        "use_distributed_sampler": False,  # every rank already reads its share
    }


def is_sharded(module: nn.Module) -> bool:
    """Whether this process holds only a part of some parameter."""
    return any(hasattr(values, "to_local") for values in module.parameters())


def whole_weights(module: nn.Module) -> dict[str, Any]:
    """Weights of a sharded module, gathered in the first process; all processes call it."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return dict(get_model_state_dict(module, options=options))


def save_checkpoint(trainer: pl.Trainer, path: Path, weights_only: bool = False) -> None:
    """Write a checkpoint under a temporary name and rename it; every process calls it.

    It is a file, or a folder with the parts of all processes.
    """
    part = path.with_suffix(".part")
    if trainer.is_global_zero:
        remove(part)
    trainer.strategy.barrier()
    trainer.save_checkpoint(part, weights_only=weights_only)
    if trainer.is_global_zero:
        if path.is_dir():  # only files can be replaced
            path.rename(path.with_suffix(".old"))
        part.replace(path)
        remove(path.with_suffix(".old"))


def remove(path: Path) -> None:
    """Remove a checkpoint, a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    with suppress(FileNotFoundError):
        path.unlink()
