"""FSDP2 for models with routed layers, with experts split over an axis or not."""

import warnings
from collections.abc import Iterable
from typing import Any, TypeVar

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard

from routers import ConfigError

from ..layers.moe import MoE
from .split import ParallelBank

M = TypeVar("M", bound=nn.Module)


def fully_shard_layers(
    model: M, mesh: DeviceMesh, *, blocks: Iterable[nn.Module] = (), **options: Any
) -> M:
    """Apply FSDP2 to every ``MoE`` layer, to blocks and to the rest of a model, in place.

    Parameters, gradients and optimizer states are divided among all processes of the mesh, and
    gathered layer by layer; gradients are means over processes. The experts of a bank that
    ``parallelize`` has split are divided among the processes that hold the same part.

    Args:
        model: the model, whose ``forward`` is called in training.
        mesh: devices; all its axes share the batch.
        blocks: modules to gather one at a time, such as the blocks of a transformer; inner before
            outer ones. Without them, what is outside of the layers is gathered at once.
        options: of ``torch.distributed.fsdp.fully_shard``, such as ``mp_policy``.

    Returns:
        The model, whose parameters are ``DTensor``.

    Raises:
        ConfigError: if experts are split and the mesh has no other axis; a single device is
            enough for it.
    """
    # of all devices: torch has no public name for it, and uses this one in FSDP2 itself
    everyone = mesh if mesh.ndim == 1 else mesh._flatten()
    layers = [module for module in model.modules() if isinstance(module, MoE)]
    banks = [layer.bank for layer in layers if isinstance(layer.bank, ParallelBank)]
    for bank in dict.fromkeys(banks):  # in one order on all processes
        fully_shard(bank, mesh=_other_axes(mesh, bank), **options)
    units: list[nn.Module] = [*layers, *blocks, model]
    for module in dict.fromkeys(units):
        fully_shard(module, mesh=everyone, **options)
    # hooks on a view are lost if it is changed in place; a routing's tensors never are
    warnings.filterwarnings("ignore", message=r"FSDP2-wrapped module .* returned a view tensor")
    return model


def _other_axes(mesh: DeviceMesh, bank: ParallelBank) -> DeviceMesh:
    """The axes over which each part of a split bank has copies, as one axis."""
    split = bank.mesh.mesh_dim_names or ()
    others = tuple(name for name in mesh.mesh_dim_names or () if name not in split)
    if not others:
        raise ConfigError(
            f"the mesh has no axis besides {', '.join(split)}, over which parts of experts have "
            "copies; give init_device_mesh the shape (1, n) and mesh_dim_names=('data', 'expert')"
        )
    return mesh[others[0]] if len(others) == 1 else mesh[others]._flatten()
