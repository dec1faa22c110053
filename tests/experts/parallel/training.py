"""Ten steps of small models on shares of a batch, compared with those of one process.

The first process takes the steps of one process as well, on the whole batch, and compares. Random
noise of routers is replaced by a function of their scores, so that it is the same on shares.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, NamedTuple, TypeVar

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_model_state_dict,
)
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_map_only
from torch.utils.checkpoint import checkpoint

import experts
import routers
from experts import MoE
from experts.parallel import RowExchange, count_exchanged_bytes
from experts.plan import exchanged_bytes
from routers import GATES, LOSSES, Routing, step_sums
from routers.blocks import sum_over_ranks
from routers.losses import loss_of

M = TypeVar("M", bound=nn.Module)

DIM, LENGTH, SAMPLES, IDS, NUM_EXPERTS = 6, 4, 8, 16, 8
#: Steps after which gradients are gathered and compared; the others show in outputs.
GATHERED = (0, 9)
#: Losses of each router: of the whole batch at level ``step``, or means over items.
AUXILIARY = {
    "topk": ("switch", "z"),
    "noisy_topk": ("importance", "load", "z"),
    "expert_choice": ("z",),
    "hierarchical": ("importance", "load", "z"),
    "soft_moe": ("switch", "z"),
    "soft_mixture": ("switch", "importance"),
}


@dataclass(frozen=True)
class Layer:
    """The parts and options of a routed layer."""

    router: str = "topk"
    bank: str = "mlp"
    options: dict[str, Any] = field(default_factory=dict)  # of the router
    expert: dict[str, Any] = field(default_factory=lambda: {"hidden": 5})
    moe: dict[str, Any] = field(default_factory=dict)  # of the MoE
    shared: str | None = None
    skewed: bool = False  # two experts get all rows, the others none
    reads: tuple[str, ...] = ()  # losses that read the layer or the outputs of experts


@dataclass(frozen=True)
class Case:
    """Layers, which are trained together, and how."""

    layers: dict[str, Layer]
    padded: bool = False  # the last process has only padding
    micro_steps: int = 1
    clip: float | None = None
    steps: int = 10


class Block(nn.Module):
    """A routed layer between two dense ones; one feature of its input is always 1."""

    def __init__(self, of: Layer) -> None:
        super().__init__()
        self.of = of
        self.enter = nn.Linear(DIM, DIM)
        router = routers.build(of.router, DIM, NUM_EXPERTS, **of.options)
        bank = experts.build(of.bank, DIM, NUM_EXPERTS, **of.expert)
        shared = None if of.shared is None else experts.build(of.shared, DIM, 1, hidden=5)
        self.layer = MoE(router, bank, shared=shared, keep_outputs=bool(of.reads), **of.moe)
        self.leave = nn.Linear(DIM, 3)
        for gate in self.layer.router.modules():
            if of.skewed and isinstance(gate, GATES.get_part("linear")):
                column = torch.full((len(gate.weight),), -30.0)
                column[: max(2, len(column) // 4)] = 30.0
                gate.weight.data[:, -1] = column

    def forward(self, x: Tensor, ids: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Routing]:
        features = self.enter(x)
        constant = torch.ones_like(features[..., :1])
        features = torch.cat([features[..., 1:], constant], -1)
        axes = self.layer.bank.row_axes
        if len(axes) == 3:  # an image of one row
            y, routing = self.layer(features.movedim(-1, 1).unsqueeze(2))
            return self.leave(y.squeeze(2).movedim(1, -1)), routing
        by_token = {} if len(axes) > 1 else {"ids": ids * 0 if self.of.skewed else ids}
        y, routing = self.layer(features, mask=mask, **by_token)
        return self.leave(y), routing


class Net(nn.Module):
    """All layers of a case, on the same input."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.blocks = nn.ModuleDict({name: Block(layer) for name, layer in case.layers.items()})

    def forward(self, **given: Tensor) -> dict[str, tuple[Tensor, Routing]]:
        return {name: block(**given) for name, block in self.blocks.items()}


def build(case: Case) -> Net:
    torch.manual_seed(0)
    return Net(case).train()


def only(**of: Any) -> Case:
    """One layer."""
    return Case({"layer": Layer(**of)}, steps=3)


def batch(case: Case, step: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(step)
    ids = torch.randint(IDS, (SAMPLES, LENGTH), generator=generator)
    found = {"x": torch.randn(SAMPLES, LENGTH, DIM, generator=generator), "ids": ids}
    if case.padded:
        found["mask"] = torch.rand(SAMPLES, LENGTH, generator=generator) < 0.7
        found["mask"][SAMPLES - SAMPLES // dist.get_world_size() :] = False
    return found


class Result(NamedTuple):
    """Of one layer in one pass; ``load`` is after and before drops."""

    loss: Tensor
    output: Tensor
    load: Tensor
    flops: int


def results(net: nn.Module, case: Case, given: dict[str, Tensor]) -> dict[str, Result]:
    """Forward pass; a balance loss is that of all processes."""
    found = net(**given)
    sums = torch.stack([step_sums(routing) for _, routing in found.values()])
    if type(net) is not Net:  # several processes, with shares of the batch
        sums = sum_over_ranks(sums)
    blocks = (net.module if isinstance(net, DistributedDataParallel) else net).blocks
    return {
        name: _result(blocks[name], *found[name], total, given)
        for name, total in zip(found, sums, strict=True)
    }


def _result(
    block: Block, output: Tensor, routing: Routing, total: Tensor, given: dict[str, Tensor]
) -> Result:
    loss = (output - given["x"][..., :3].tanh()).square().mean()
    if "mask" not in given:  # shares of equal weight
        summed = replace(routing, step_statistics=total)
        for name in AUXILIARY.get(block.of.router, ()):
            level = {} if name == "z" else {"level": "step"}
            loss = loss + 0.1 * LOSSES[name](summed, **level)
        for name in block.of.reads:
            loss = loss + 0.1 * loss_of(LOSSES[name], routing, block.layer)
    shape = {1: (DIM,), 2: (LENGTH, DIM), 3: (DIM, 1, LENGTH)}[len(block.layer.bank.row_axes)]
    load = torch.stack([routing.load, routing.requested_load])
    return Result(loss, output, load, block.layer.flops(routing, shape))


def whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


class Step(NamedTuple):
    """What happened in a step: in each pass, and to gradients once they were complete."""

    passes: list[dict[str, Result]]
    gradients: dict[str, Tensor]
    norm: Tensor | None


def steps_of(net: nn.Module, case: Case, share: Callable[[Tensor], Tensor]) -> list[Step]:
    """Take the steps on a share of each batch."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.5)
    happened = []
    for step in range(case.steps):
        passes = []
        for micro in range(case.micro_steps):
            given = {k: share(v) for k, v in batch(case, step * case.micro_steps + micro).items()}
            of = results(net, case, given)
            (sum(each.loss for each in of.values()) / case.micro_steps).backward()
            passes.append(tree_map_only(Tensor, Tensor.detach, of))
        gradients = {
            name.removeprefix("module."): whole(parameter.grad).clone()
            for name, parameter in net.named_parameters()
            if parameter.grad is not None and step in GATHERED
        }
        clip = None if case.clip is None else experts.clip_grad_norm_(net.parameters(), case.clip)
        happened.append(Step(passes, gradients, clip))
        optimizer.step()
        optimizer.zero_grad()
    return happened


#: What one process computes, by case, for the other ways of training.
_DONE: dict[str, tuple[list[Step], dict[str, Tensor]]] = {}


def steps_of_one(case: Case) -> tuple[list[Step], dict[str, Tensor]]:
    """The steps of one process on whole batches, and the state after them."""
    if repr(case) not in _DONE:
        net = build(case)
        _DONE[repr(case)] = steps_of(net, case, lambda value: value), dict(net.state_dict())
    return _DONE[repr(case)]


@cache  # processes of a new mesh connect again
def mesh_of(*sizes: int) -> DeviceMesh:
    """The mesh of data, or of data and experts."""
    return init_device_mesh("cpu", sizes, mesh_dim_names=("data", "expert")[: len(sizes)])


def distributed(net: M, how: str) -> M:
    """The model, trained as ``how`` says: ``ddp``, ``fsdp2``, or ``DATAxEXPERT`` sizes."""
    if how == "ddp":
        return DistributedDataParallel(net)
    if how == "fsdp2":
        return experts.fully_shard_layers(net, mesh_of(dist.get_world_size()))
    mesh = mesh_of(*map(int, how.split("x")))
    return experts.fully_shard_layers(experts.parallelize(net, mesh), mesh)


def same_noise(patch: pytest.MonkeyPatch) -> None:
    for draw in ("randn_like", "rand_like"):
        patch.setattr(torch, draw, lambda scores: (scores.detach() * 997.0).sin())


def share_of(value: Tensor) -> Tensor:
    """The share of this process."""
    return value.chunk(dist.get_world_size())[dist.get_rank()]


def close(ours: Any, wanted: Any) -> None:
    torch.testing.assert_close(ours, wanted, rtol=1e-9, atol=1e-9)


def check_steps(case: Case, how: str) -> dict[str, str]:
    """Steps on shares and of one process on whole batches: what differs, by layer.

    The first process compares; the result is empty in the others.
    """
    is_first = dist.get_rank() == 0
    with pytest.MonkeyPatch.context() as patch:
        same_noise(patch)
        net = distributed(build(case), how)
        ours = steps_of(net, case, share_of)
        alone, wanted_state = steps_of_one(case) if is_first else ([], {})
    state = get_model_state_dict(net, options=StateDictOptions(full_state_dict=True))
    passes: list[Any] = [None] * dist.get_world_size()
    dist.gather_object([step.passes for step in ours], passes if is_first else None)
    found = {}
    for name, layer in case.layers.items() if is_first else ():
        try:
            for step, wanted in enumerate(alone):
                where = f"step {step}"
                shares = [of_rank[step] for of_rank in passes]
                compare_step(name, layer, shares, ours[step], wanted)
            where = "state"
            close(_part(state, name), _part(wanted_state, name))
        except AssertionError as error:
            found[name] = f"{where}: {error}"
    return found


def _part(values: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: value for key, value in values.items() if key.startswith(f"blocks.{name}.")}


def compare_step(
    name: str, layer: Layer, shares: list[list[dict[str, Result]]], ours: Step, wanted: Step
) -> None:
    """Compare a layer in a step of all processes with that of one."""
    for micro, of_one in enumerate(wanted.passes):
        parts, whole_batch = [of_rank[micro][name] for of_rank in shares], of_one[name]
        close(torch.stack([part.loss for part in parts]).mean(), whole_batch.loss)
        close(torch.cat([part.output for part in parts]), whole_batch.output)
        load = torch.stack([part.load for part in parts]).sum(0)
        rounded = len(parts) if layer.router == "merged" else 0  # shares of rows, by each process
        assert (load - whole_batch.load).abs().max() <= rounded, "loads"
        assert sum(part.flops for part in parts) == whole_batch.flops, "FLOPs"
        if layer.skewed:
            assert (whole_batch.load == 0).any(), "no expert without rows"
    close(_part(ours.gradients, name), _part(wanted.gradients, name))
    if wanted.norm is not None:
        close(ours.norm, wanted.norm)


def local_bytes(tensors: Sequence[Tensor]) -> int:
    """Bytes that tensors occupy on this process; they may lie together."""
    parts = [t.to_local() if isinstance(t, DTensor) else t for t in tensors]
    storages = [part.untyped_storage() for part in parts]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


# ---- checks besides the steps ----


def check_memory(data: int, expert: int) -> None:
    """Each process holds its part of the experts, and of their gradients."""
    net = build(only())
    bank = net.blocks["layer"].layer.bank
    before = local_bytes(list(bank.parameters()))
    distributed(net, f"{data}x{expert}")
    assert local_bytes(list(bank.parameters())) == before // (data * expert)
    sum(each.loss for each in results(net, only(), _shares(only(), 0)).values()).backward()
    gradients = [parameter.grad for parameter in bank.parameters()]
    assert local_bytes(gradients) == before // (data * expert)
    names = [name for name, _ in build(only()).named_parameters()]
    assert [name for name, _ in net.named_parameters()] == names


def check_state(folder: str) -> None:
    """States are those of one process, also of the optimizer; any layout loads any other's."""
    case = only(shared="mlp")
    alone, split = build(case), distributed(build(case), "2x2")
    sharded = distributed(build(case), "fsdp2")
    trained = [_trained(alone, case, lambda value: value), _trained(split, case, share_of)]
    full = StateDictOptions(full_state_dict=True)
    states = [get_state_dict(*each, options=full) for each in trained]
    assert states[1][1]["param_groups"] == states[0][1]["param_groups"]
    close(states[1][0], dict(states[0][0]))
    close(states[1][1]["state"], states[0][1]["state"])
    # a checkpoint of one layout in another, and from there in one process
    dcp.save({"model": get_model_state_dict(split)}, checkpoint_id=folder)
    target = get_model_state_dict(sharded)
    dcp.load({"model": target}, checkpoint_id=folder)
    set_model_state_dict(sharded, target)
    close(get_model_state_dict(sharded, options=full), dict(alone.state_dict()))
    # the state of one process in a split model, which then computes the same
    fresh = distributed(build(case), "2x2")
    set_model_state_dict(fresh, alone.state_dict(), options=full)
    given = _shares(case, 99)
    close(*(results(net, case, given)["layer"].output for net in (fresh, split)))


def _shares(case: Case, step: int) -> dict[str, Tensor]:
    return {name: share_of(value) for name, value in batch(case, step).items()}


def _trained(
    net: nn.Module, case: Case, share: Callable[[Tensor], Tensor]
) -> tuple[nn.Module, torch.optim.Optimizer]:
    """The model and its optimizer after three steps, with moments."""
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for step in range(case.steps):
        given = {name: share(value) for name, value in batch(case, step).items()}
        results(net, case, given)["layer"].loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return net, optimizer


def check_overlap() -> None:
    """The shared expert runs after rows were sent and before they arrive."""
    case = only(shared="mlp")
    net = distributed(build(case), "1x2")
    order: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("start", "arrive", "back"):
            original = getattr(RowExchange, name)

            def noted(self: Any, rows: Tensor, name: str = name, original: Any = original) -> Any:
                order.append(name)
                return original(self, rows)

            patch.setattr(RowExchange, name, noted)
        shared = net.blocks["layer"].layer.shared
        shared.register_forward_hook(lambda *_: order.append("shared"))
        net(**_shares(case, 0))
    assert order == ["start", "shared", "arrive", "back"]


def check_bytes(of: Layer) -> int:
    """The bytes that leave this process in a step are those of the plan for the recorded load."""
    layer = build(Case({"layer": of})).blocks["layer"].layer
    experts.parallelize(layer, mesh_of(1, dist.get_world_size()))
    given = _shares(only(), 0)
    x = given["x"].clone().requires_grad_()
    loads: list[Tensor] = []

    def step() -> None:
        y, routing = layer(x, ids=given["ids"])
        loads.append(routing.load)
        y.sum().backward()

    counted = count_exchanged_bytes(step)
    every = [torch.empty_like(loads[0]) for _ in range(dist.get_world_size())]
    dist.all_gather(every, loads[0])
    planned = exchanged_bytes(torch.stack(every), row_bytes=DIM * x.element_size())
    assert counted == planned[dist.get_rank()]
    return counted


def check_several_gates() -> None:
    """A layer with several gates and shared experts is split like one with a single gate."""

    def made() -> experts.MultiGateMoE:
        torch.manual_seed(0)
        gates = [routers.build("topk", DIM, NUM_EXPERTS, k=2) for _ in range(2)]
        bank = experts.build("mlp", DIM, NUM_EXPERTS, hidden=5)
        shared = experts.build("mlp", DIM, 1, hidden=5)
        return experts.MultiGateMoE(gates, bank, experts.mmoe(NUM_EXPERTS, tasks=2), shared=shared)

    x = batch(only(), 0)["x"].unsqueeze(0)
    alone, split = made(), made()
    experts.parallelize(split, mesh_of(1, dist.get_world_size()))
    wanted, ours = alone(x)[0], split(share_of(x.movedim(1, 0)).movedim(0, 1))[0]
    close(ours, share_of(wanted.movedim(1, 0)).movedim(0, 1))
    wanted.square().mean().backward()
    ours.square().mean().backward()
    close(split.bank.up.grad.full_tensor(), alone.bank.up.grad)


def check_routed_model(how: str) -> None:
    """Copies of modules train as in one process; names are those of the model, with checkpoints.

    Each process has its own masks and ids, which leave experts without items in one of them.
    """
    size = dist.get_world_size()
    x = torch.randn(4, 3, DIM, generator=torch.Generator().manual_seed(1))
    mask = torch.arange(3) < torch.tensor([[2], [3], [3], [2]])
    ids = torch.arange(4).unsqueeze(1).expand(4, 3) % 2 + torch.tensor([[0], [0], [2], [2]])

    def made() -> nn.Sequential:
        torch.manual_seed(0)
        mlp = nn.Sequential(nn.Linear(DIM, 5), nn.GELU(), nn.Linear(5, DIM))
        model = nn.Sequential(nn.Linear(DIM, DIM), mlp, nn.LayerNorm(DIM), nn.Linear(DIM, DIM))
        experts.route(model, {"1": {"router": "hash"}, "3": {"router": "topk"}})
        return model

    def train(model: nn.Module, part: slice) -> dict[str, list[int]]:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            with experts.collect(model, mask=mask[part], ids=ids[part]) as routings:
                y = checkpoint(model, x[part], use_reentrant=False)
                (y.square().mean() + LOSSES["z"](routings["3"][0])).backward()
            optimizer.step()
        return {name: found[0].load.tolist() for name, found in routings.items()}

    alone, ours = made(), made()
    train(alone, slice(None))
    share = 4 // size
    first = dist.get_rank() * share
    loads = train(distributed(ours, how), slice(first, first + share))
    assert [*loads] == ["1", "3"]
    assert 0 in loads["1"]
    for (name, wanted), value in zip(alone.named_parameters(), ours.parameters(), strict=True):
        value = value.full_tensor() if isinstance(value, DTensor) else value
        assert torch.allclose(value, wanted, rtol=0, atol=1e-9), name
