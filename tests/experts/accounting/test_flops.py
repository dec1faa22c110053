"""What a bank says it costs is what it costs, to the last unit."""

import pytest
import torch

import experts
from experts import MoE, count_flops, count_flops_of

from ...router_samples import SELECTING
from ..cases import DIM, bank_of, call, router_of, rows_for

ROWS = {1: [(DIM,)], 2: [(1, DIM), (7, DIM)], 3: [(DIM, 1, 1), (DIM, 5, 3)]}
CASES = [(b, shape) for b in experts.available() for shape in ROWS[len(bank_of(b).row_axes)]]


def run_and_count(bank, shape, load, dtype=torch.float32):
    rows = torch.randn(sum(load), *shape, dtype=dtype)
    bank = bank.to(dtype)
    return count_flops(lambda: bank(rows, torch.tensor(load)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("bank", "shape"), [(b, s) for b, s in CASES if "hidden" in experts.EXPERTS.options(b)]
)
def test_odd_widths_cost_the_same_on_either_path(bank, shape, dtype):
    bank = bank_of(bank, hidden=7)  # no kernel takes 28 bytes
    prices = bank.flops(shape)
    expected = 3 * prices[0] + 5 * prices[3]
    assert run_and_count(bank, shape, [3, 0, 0, 5], dtype) == expected


@pytest.mark.usefixtures("unpadded")
@pytest.mark.parametrize("router", SELECTING)
def test_layer_is_what_its_router_is_not(router):
    layer = MoE(router_of(router), bank_of("mlp"), shared=bank_of("glu", 2)).eval()
    x = rows_for(layer.bank, 12).view(3, 4, DIM)
    mask = torch.ones(3, 4, dtype=torch.bool)
    mask[1, 2:] = False
    found = {}
    layer.router.register_forward_pre_hook(lambda router, given: found.update(items=given[0]))
    _, routing = call(layer, x, mask=mask)
    total = count_flops(lambda: call(layer, x, mask=mask))
    of_router = count_flops(lambda: layer.router(found["items"]))
    assert layer.flops(routing, (DIM,)) == total - of_router


def test_counting_leaves_nothing_behind():
    module = torch.nn.Linear(3, 5)
    assert count_flops_of([module], lambda: module(torch.ones(2, 3))) == 60
    assert not module._forward_hooks
    assert not module._forward_pre_hooks


def test_null_experts_cost_nothing():
    bank = bank_of("null", kinds=["zero", "copy"])
    layer = MoE(router_of("topk"), bank)
    _, routing = layer(rows_for(bank, 5))
    assert layer.flops(routing, (DIM,)) == 0


def test_backward_is_counted_too():
    bank = bank_of("mlp")
    x = rows_for(bank, 4)
    load = torch.tensor([2, 0, 1, 1])
    forward = 4 * bank.flops((DIM,))[0]
    assert count_flops(lambda: bank(x, load).sum().backward()) == 3 * forward
