"""What the tests of experts share: parts to try, rows for them, gradients to compare."""

from collections.abc import Iterable, Sequence

import pytest
import torch
from torch import Tensor, nn

import experts
import routers
from experts import Bank, MoE
from routers import ConfigError, Items, Router, Routing

DIM = 8
EXPERTS = 4
ROW_SHAPES = {1: (DIM,), 2: (5, DIM), 3: (DIM, 3, 4)}
IDS = 20


def bank_of(name: str, num_experts: int = EXPERTS, dim: int = DIM, **options: object) -> Bank:
    """The bank called ``name``, always with the same weights, in eval."""
    torch.manual_seed(0)
    bank: Bank = experts.build(name, dim, num_experts, **options)
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
    return [name for name in experts.available() if bank_of(name).row_dims in row_dims]


def rows_for(bank: Bank, count: int, seed: int = 2) -> Tensor:
    """``count`` random rows a bank takes, that ask for a gradient."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count, *ROW_SHAPES[bank.row_dims])
    return torch.randn(shape, generator=generator).requires_grad_()


def items_for(
    bank: Bank, x: Tensor, mask: Tensor | None = None, inner: Tensor | None = None
) -> Items:
    """What a router sees of rows ``x``: three items to a group where rows are tokens."""
    groups = len(x) // 3 if bank.row_dims == 1 and len(x) % 3 == 0 else 1
    ids = torch.arange(len(x)) * 7 % IDS
    return Items(bank.pool(x, inner), groups, mask=mask, ids=ids, task=ids % 2)


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
    lead = x.shape[:-1] if layer.bank.row_dims == 1 else x.shape[:1]
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
