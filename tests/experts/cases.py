"""What the tests of experts share: parts to try, rows for them, gradients to compare."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import experts
import routers
from experts import Bank, MoE
from experts.kernels.gemm_cost import GEMM_COSTS
from experts.kernels.layouts import Layout, plan_for
from routers import ConfigError, Items, Router, Routing

DIM = 8
EXPERTS = 4
ROW_SHAPES = {("D",): (DIM,), ("L", "D"): (5, DIM), ("D", "H", "W"): (DIM, 3, 4)}
IDS = 20


def bank_of(name: str, num_experts: int = EXPERTS, dim: int = DIM, **options: object) -> Bank:
    """The bank called ``name``, always with the same weights, in eval; none of them is 0."""
    torch.manual_seed(0)
    bank: Bank = experts.build(name, dim, num_experts, **options)
    for values in bank.parameters():
        if not values.any():
            nn.init.normal_(values, std=0.5)
    return bank.eval()


def router_of(name: str, num_experts: int = EXPERTS) -> Router:
    """The router called ``name``, ready to route, in eval."""
    torch.manual_seed(1)
    try:
        router: Router = routers.build(name, DIM, num_experts)
    except ConfigError as error:
        pytest.skip(f"not with its defaults: {error}")
    router.prepare(torch.arange(IDS), torch.randn(IDS, 3))
    return router.eval()


def banks_with(*row_dims: int) -> list[str]:
    """Names of the banks whose rows have so many axes."""
    return [name for name in experts.available() if len(bank_of(name).row_axes) in row_dims]


def suits(router: str, bank: str) -> bool:
    """Whether experts can do what a router asks: have parameters with a mean, or projections."""
    traits, made = routers.ROUTERS.get_part(router).traits, bank_of(bank)
    if traits.needs_projections and made.projections() is None:
        return False
    return not traits.merges or bool(made.expert_parameters)


def rows_for(bank: Bank, count: int, seed: int = 2) -> Tensor:
    """``count`` random rows a bank takes, that ask for a gradient."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count, *ROW_SHAPES[bank.row_axes])
    return torch.randn(shape, generator=generator).requires_grad_()


def items_for(
    bank: Bank, x: Tensor, mask: Tensor | None = None, inner: Tensor | None = None
) -> Items:
    """What a router sees of rows ``x``: three items to a group where rows are tokens."""
    groups = len(x) // 3 if len(bank.row_axes) == 1 and len(x) % 3 == 0 else 1
    ids = torch.arange(len(x)) * 7 % IDS
    given = {"ids": ids, "task": ids % 2, "projections": bank.projections()}
    return Items(bank.pool(x, inner), groups, mask=mask, **given)


def routing_of(pairs: Sequence[tuple[int, int]], weight: Tensor, num_items: int) -> Routing:
    """Any assignments ``(item, expert)`` at all."""
    item, expert = torch.tensor(pairs, dtype=torch.long).view(-1, 2).unbind(1)
    return Routing(item, expert, weight, num_items, EXPERTS)


def learnable(*modules: nn.Module) -> list[Tensor]:
    return [p for module in modules for p in module.parameters() if p.requires_grad]


def gradients(y: Tensor, inputs: Iterable[Tensor]) -> list[Tensor]:
    """Of a random weighing of ``y``; zero where an input plays no part."""
    inputs = list(inputs)
    if not y.requires_grad:
        return [torch.zeros_like(given) for given in inputs]
    probe = torch.randn(y.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    loss = (y * probe.to(y.dtype)).sum()
    return list(torch.autograd.grad(loss, inputs, retain_graph=True, materialize_grads=True))


def same(left: Tensor, right: Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(left, right, rtol=tolerance, atol=tolerance)


def call(layer: MoE, x: Tensor, **given: Tensor) -> tuple[Tensor, Routing]:
    """The layer on ``x``, with ids and tasks for routers that read them."""
    lead = x.shape[:-1] if len(layer.bank.row_axes) == 1 else x.shape[:1]
    ids = torch.arange(lead.numel()).view(lead) * 7 % IDS
    y, routing = layer(x, ids=ids, task=ids % 2, **given)
    return y, routing


def graph_nodes(y: Tensor) -> list[str]:
    """Names of all autograd nodes behind ``y``."""
    seen = set()
    waiting = [y.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [following for following, _ in node.next_functions]
    return [type(node).__name__ for node in seen]


def plain_mix(x: Tensor, routing: Routing, bank: Bank) -> Tensor:
    """What an ``mlp`` or ``glu`` bank makes of a routing, in torch's own steps of autograd.

    All experts work on all items, and then the pairs that exist are taken: it shares no line
    with the engine, whose reference calls the same bank.
    """
    first, down = bank.parameters()
    inner = torch.einsum("nd,edu->neu", x, first)
    if first.shape[2] == down.shape[1]:
        active = F.gelu(inner)
    else:
        gate, up = inner.chunk(2, -1)
        active = F.silu(gate) * up
    out = torch.einsum("neh,ehd->ned", active, down)[routing.item, routing.expert]
    sums = [
        torch.zeros_like(x).index_add(0, routing.item, out * weight.unsqueeze(1))
        for weight in routing.weight.unsqueeze(-1).flatten(1).unbind(1)
    ]
    return sums[0] if routing.weight.dim() == 1 else torch.stack(sums)


@contextmanager
def planned(base: int | None = None, rounded: bool = False) -> Iterator[list[Layout]]:
    """Inside, feed-forward experts batch ``base`` rows each; yields the layouts they took.

    ``base=None`` leaves the choice to them, as on one core. ``rounded`` is how bfloat16 lays
    out its rows.
    """
    taken: list[Layout] = []

    def watched(*given: object) -> tuple[Layout, object]:
        plan = plan_for(*given)
        taken.append(plan[0])
        return plan

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("experts.kernels.feed_forward.plan_for", watched)
        patch.setattr("torch.get_num_threads", lambda: 1)
        if base is not None:
            prices = {dtype: replace(price, rounded=rounded) for dtype, price in GEMM_COSTS.items()}
            patch.setattr("experts.kernels.layouts.GEMM_COSTS", prices)
            patch.setattr("experts.kernels.layouts.may_batch", lambda *given: True)
            patch.setattr("experts.kernels.layouts.base_rows", lambda *given: base)
        yield taken


class Made(TorchDispatchMode):
    """Notes the shapes of all tensors that are made inside; views of others are not."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        out = func(*args, **(kwargs or {}))
        given = {t.untyped_storage()._cdata for t in _tensors((args, kwargs))}
        self.shapes += [
            tuple(t.shape) for t in _tensors(out) if t.untyped_storage()._cdata not in given
        ]
        return out


def _tensors(tree: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
