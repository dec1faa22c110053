"""How several processes train one network: strategies by name."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import nn

import experts
from routers import ConfigError, OptionError
from routers.plugins import Registry

from ..config.named_part import split_part
from ..config.schema import TrainerConfig
from ..loading.batches import Rank

if TYPE_CHECKING:
    from lightning.pytorch import Trainer
    from lightning.pytorch.strategies import Strategy

KEY = "trainer.strategy"

#: Strategies by name; ``module:Class`` names any other of Lightning.
STRATEGIES: Registry[Any] = Registry(KEY, base=None, group="switchyard.strategies")


class DeferredStrategy(NamedTuple):
    """A strategy with valid options that is not built yet, as Lightning takes seconds to import.

    Args:
        build: builds Lightning's strategy.
        parts: processes among which the experts of a layer are divided.
        alone: whether a run on one device can have it.
    """

    build: "Callable[[], Strategy]"
    parts: int = 1
    alone: bool = False


@STRATEGIES.register("auto")
@STRATEGIES.register("ddp")
def data_parallel(
    *, find_unused_parameters: bool = True, gradient_as_bucket_view: bool = False
) -> DeferredStrategy:
    """Every process holds the network; gradients are means over processes.

    The module sums its counts over ranks and averages its statistics, so buffers are not
    broadcast; a parameter that a rank does not use in a step has a gradient of zero there.
    """

    def build() -> "Strategy":
        from lightning.pytorch.strategies import DDPStrategy

        return DDPStrategy(
            find_unused_parameters=find_unused_parameters,
            gradient_as_bucket_view=gradient_as_bucket_view,
            broadcast_buffers=False,
        )

    return DeferredStrategy(build, alone=True)


@STRATEGIES.register("fsdp2")
def fully_sharded(*, single_file: bool = False) -> DeferredStrategy:
    """FSDP2: parameters, gradients and optimizer states are divided among the processes.

    Args:
        single_file: write checkpoints as one file, gathered by the first process; else each
            process writes its part to a folder.
    """
    return _sharded(1, single_file)


@STRATEGIES.register("expert_parallel")
def expert_parallel(*, size: int, single_file: bool = False) -> DeferredStrategy:
    """Each process works on a part of the experts; all parameters are sharded by FSDP2.

    Args:
        size: processes among which the experts of a layer are divided.
        single_file: as for ``fsdp2``.
    """
    if size < 2:
        raise OptionError("size", size, "an integer >= 2")
    return _sharded(size, single_file)


def _sharded(parts: int, single_file: bool) -> DeferredStrategy:
    def build() -> "Strategy":
        from .fully_sharded import FullySharded

        return FullySharded(parts, single_file)

    return DeferredStrategy(build, parts)


def find_strategy(trainer: TrainerConfig) -> DeferredStrategy:
    """The strategy of a configuration; ``ConfigError`` if its processes cannot have it."""
    name, options = split_part(KEY, trainer.strategy)
    processes = trainer.devices * trainer.num_nodes
    found = STRATEGIES.build(name, **options)
    strategy = found if isinstance(found, DeferredStrategy) else _of_lightning(name, found)
    if processes == 1 and not strategy.alone:
        raise OptionError(KEY, name, "auto on one device", "Set trainer.devices")
    if processes % strategy.parts:
        expected = f"a divisor of the {processes} processes"
        raise OptionError(f"{KEY}.size", strategy.parts, expected)
    return strategy


def _of_lightning(name: str, strategy: Any) -> DeferredStrategy:
    from lightning.pytorch.strategies import Strategy

    if not isinstance(strategy, Strategy):
        raise OptionError(KEY, name, "a strategy of Lightning")
    return DeferredStrategy(lambda: strategy)


def check_fits(trainer: TrainerConfig, backbone: nn.Module) -> None:
    """Raise ``ConfigError`` if the strategy cannot divide the experts of a network."""
    parts = find_strategy(trainer).parts
    try:
        if parts > 1:
            experts.check_split(backbone, parts)
    except ConfigError as error:
        raise ConfigError(f"{KEY}={trainer.strategy}: {error}; here, {KEY}=fsdp2") from error


def strategy_options(trainer: TrainerConfig, rank: Rank) -> dict[str, Any]:
    """Arguments of Lightning's ``Trainer`` about devices and precision, for a rank of a run."""
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment
    from lightning.pytorch.plugins import DoublePrecision

    from .devices import find_environment
    from .fully_sharded import FullySharded

    if rank.world_size == 1:
        return {
            "devices": 1,
            "precision": trainer.precision,
            "plugins": [LightningEnvironment()],
        }
    found, strategy = find_environment(), find_strategy(trainer).build()
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


def save_checkpoint(trainer: "Trainer", path: Path, weights_only: bool = False) -> None:
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
