"""Expert parallelism: each process holds a part of the experts and works on all their rows."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard

from routers import ConfigError, OptionError, Routing

from .._bank import Bank
from ..dispatch.merge import with_parameters
from ..layers.moe import LayerInput, MoE
from ..layers.routed_attention import RoutedAttention
from .exchange import RowExchange

M = TypeVar("M", bound=nn.Module)


def parallelize(model: M, mesh: DeviceMesh, axis: str = "expert") -> M:
    """Split the experts of every ``MoE`` layer of a model over an axis of a mesh, in place.

    Each process keeps ``E / n`` experts of every bank, and with them their gradients and
    optimizer states. It trains on its own share of the batch: rows travel to the processes that
    hold their experts, and results back. Outputs, losses, loads and gradients are those of one
    process with the whole batch, if losses are means over equal shares.

    Call it before the optimizer is built, on every process with equal parameters; then call
    ``fully_shard_layers``, which averages gradients over all processes and shards parameters.
    Names and shapes in ``model.state_dict()`` stay; split parameters are ``DTensor`` of the
    stacks ``(E, ...)``, for ``torch.distributed.checkpoint``.

    Args:
        model: a model with ``MoE`` layers, or a layer.
        mesh: devices, with names of its axes.
        axis: name of the axis over which experts are split.

    Returns:
        The model.

    Raises:
        ConfigError: before anything is changed, if the mesh has no such axis, the model has no
            layer, is split or sharded already, or a layer cannot be split: ``E`` is no multiple of
            the axis, its experts are not of one form, or its router averages parameters.

    >>> from torch.distributed.device_mesh import init_device_mesh
    >>> import experts, routers
    >>> layer = MoE(routers.build("topk", 8, 6), experts.build("mlp", 8, 6))
    >>> mesh = init_device_mesh("cpu", (1, 4), mesh_dim_names=("data", "expert"))  # doctest: +SKIP
    >>> experts.parallelize(layer, mesh)  # doctest: +SKIP
    Traceback (most recent call last):
    routers.plugins.errors.OptionError: num_experts=6 is invalid: expected a multiple of 4, ...
    """
    names = mesh.mesh_dim_names or ()
    if axis not in names:
        raise ConfigError(
            f"the mesh has no axis {axis!r}, its axes are {', '.join(names) or 'without names'}; "
            f"give init_device_mesh mesh_dim_names=('data', {axis!r})"
        )
    layers = check_split(model, mesh[axis].size())
    for bank in dict.fromkeys(layer.bank for layer in layers):
        _split(bank, mesh[axis])
    for layer in layers:
        _become(layer, ParallelMoE)
    return model


def check_split(model: nn.Module, size: int) -> list[MoE]:
    """Return the ``MoE`` layers of a model, whose experts can be split in ``size`` parts.

    Raises ``ConfigError`` as ``parallelize`` does, before other processes are started.

    >>> import experts, routers
    >>> layer = MoE(routers.build("topk", 8, 6), experts.build("mlp", 8, 6))
    >>> len(check_split(layer, 3))
    1
    >>> check_split(layer, 4)
    Traceback (most recent call last):
    routers.plugins.errors.OptionError: num_experts=6 is invalid: expected a multiple of 4, ...
    """
    layers = {name: each for name, each in model.named_modules() if isinstance(each, MoE)}
    if not layers:
        raise ConfigError("the model has no MoE layer, whose experts could be split")
    for name, layer in layers.items():
        _check(name, layer, size)
    return list(layers.values())


class ParallelBank(Bank):
    """A bank of which this process holds a part; ``parallelize`` makes it of any bank.

    ``num_experts`` is still ``E``, and rows and load are those of this process, for all experts.
    The architecture runs on its own part of the stacks, as a bank of ``E / n`` experts.
    """

    mesh: DeviceMesh
    _meanwhile: Callable[[], None] | None

    def forward(self, rows: Tensor, load: Tensor, mask: Tensor | None = None) -> Tensor:
        exchange = RowExchange.of(load, self.mesh.get_group())
        travelling = exchange.start(rows)
        sequences = None if mask is None else exchange.start(mask.to(torch.uint8))
        if self._meanwhile is not None:
            self._meanwhile()
        own_rows = exchange.arrive(travelling)
        own_mask = None if sequences is None else exchange.arrive(sequences).bool()
        own: Any = super(ParallelBank, self._own_part())  # the architecture, on its own part
        return exchange.back(own.forward(own_rows, exchange.load, own_mask))

    @contextmanager
    def meanwhile(self, work: Callable[[], None]) -> Iterator[None]:
        """Context manager: each forward pass inside does ``work`` while rows travel."""
        self._meanwhile = work
        try:
            yield
        finally:
            self._meanwhile = None

    def _own_part(self) -> "ParallelBank":
        """A copy whose parameters are the plain tensors of this process.

        Gradients of a stack are sums over all rows of the axis, and losses are means over
        processes, so they are divided by its size; other parameters get a sum of such parts.
        """
        size = self.mesh.size()
        values: dict[nn.Parameter, Tensor] = {}
        for parameter in self.parameters():
            assert isinstance(parameter, DTensor)
            is_stack = isinstance(parameter.placements[0], Shard)
            part = parameter.to_local(grad_placements=None if is_stack else [Partial()])
            if part.requires_grad:
                part.register_hook(partial(torch.mul, other=1 / size))  # type: ignore[no-untyped-call]
            values[parameter] = part
        twin = with_parameters(self, values)
        vars(twin)["num_experts"] = self.num_experts // size
        return twin


class ParallelMoE(MoE):
    """A layer with a ``ParallelBank``: shared experts work while rows travel."""

    def _outputs(
        self, streams: Sequence[LayerInput], routing: Routing
    ) -> tuple[Tensor, Tensor | None]:
        if self.shared is None or not isinstance(self.bank, ParallelBank):
            return super()._outputs(streams, routing)
        shared = self.shared
        done: list[Tensor] = []
        with self.bank.meanwhile(lambda: done.append(self._shared_output(shared, streams[-1]))):
            y, outputs = self._routed(streams, routing)
        return y + done[0], outputs


def _check(name: str, layer: MoE, size: int) -> None:
    """Raise ``ConfigError`` unless the experts of a layer can be split in ``size`` parts."""
    bank, kind = layer.bank, type(layer.bank).__name__
    where = f"layer {name}: " if name else ""
    cure = "use fully_shard_layers without parallelize, which shards any parameters"
    if isinstance(bank, ParallelBank) or any(isinstance(p, DTensor) for p in layer.parameters()):
        raise ConfigError(
            f"{where}its parameters are split or sharded already; call parallelize once, and "
            "before fully_shard_layers"
        )
    if layer.router.traits.merges:
        raise ConfigError(
            f"{where}{type(layer.router).__name__} averages the parameters of all experts, so each "
            f"process needs all of them; {cure}"
        )
    if layer.router.traits.needs_projections:
        raise ConfigError(
            f"{where}{type(layer.router).__name__} reads weights of all experts, so each process "
            f"needs all of them; {cure}"
        )
    if isinstance(layer, RoutedAttention):
        raise ConfigError(f"{where}attention heads work on rows of this process alone; {cure}")
    stacks = [bank.get_parameter(stack) for stack in bank.expert_parameters]
    if not stacks or any(stack.shape[:1] != (bank.num_experts,) for stack in stacks):
        raise ConfigError(
            f"{where}{kind} has experts of several forms and no stacks (E, ...) of parameters that "
            f"could be split; choose experts of one form such as mlp, or {cure}"
        )
    if "forward" in vars(bank):
        raise ConfigError(
            f"{where}{kind}.forward is replaced on an instance; use a subclass or a forward hook"
        )
    if bank.num_experts % size:
        expected = f"a multiple of {size}, the processes of the axis over which experts are split"
        raise OptionError("num_experts", bank.num_experts, expected, f"{where}{cure}")


def _split(bank: Bank, mesh: DeviceMesh) -> None:
    """Keep the part of this process of a bank's stacks; other parameters stay whole."""
    for name, parameter in list(bank.named_parameters()):
        whole = parameter.detach()
        is_stack = name in bank.expert_parameters
        part = whole.chunk(mesh.size())[mesh.get_local_rank()] if is_stack else whole
        placement = Shard(0) if is_stack else Replicate()
        local = part.clone()  # a view would keep the memory of all
        tensor = DTensor.from_local(local, mesh, [placement], run_check=False)
        module, _, last = name.rpartition(".")
        split = nn.Parameter(tensor, requires_grad=parameter.requires_grad)
        bank.get_submodule(module).register_parameter(last, split)
    vars(bank).update(mesh=mesh, _meanwhile=None)
    _become(bank, ParallelBank)


def _become(module: nn.Module, kind: type[nn.Module]) -> None:
    """Make a module an instance of ``kind`` as well, as ``fully_shard`` does with its class."""
    cls = type(module)
    if not issubclass(cls, kind):
        module.__class__ = type(f"Parallel{cls.__name__}", (kind, cls), {})
