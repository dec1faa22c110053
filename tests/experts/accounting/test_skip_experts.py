"""Experts without rows: a gradient of zero, never none, and no price in the graph."""

import gc

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

import experts
from experts import grouped_linear

from ..cases import bank_of, graph_nodes, learnable, rows_for

# kinds of work that no single kernel does for all experts: one step per expert, never more
ONE_STEP_EACH = {"conv", "null", "recursion"}


@pytest.mark.parametrize("load", [[0, 0, 0, 0, 0], [3, 0, 0, 0, 0]])
@pytest.mark.parametrize("bank", experts.available())
def test_ddp_safe_idle_experts_get_zero_gradients(bank, load):
    bank = bank_of(bank, num_experts=5)
    y = bank(rows_for(bank, sum(load)), torch.tensor(load))
    y.square().sum().backward()
    for name, p in bank.named_parameters():
        assert p.grad is not None, name
        assert sum(load) or not p.grad.any(), name
        if p.shape[0] == 5:  # stacked: one slice per expert
            assert not p.grad[1:].any(), name
            assert p.grad[0].any() == (load[0] > 0), name


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("name", experts.available())
def test_ddp_steps_with_idle_experts(name):
    """Plain DDP refuses parameters without a gradient, at the next step; also a group of one."""
    # the module is gone before the group is: one that outlives it ends the group's thread while
    # it holds the interpreter's lock, which that thread may be waiting for
    bank = bank_of(name, num_experts=5)
    parallel = DistributedDataParallel(bank) if learnable(bank) else bank
    for load in ([3, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 2, 0, 1]):
        rows = rows_for(bank, sum(load))
        parallel(rows, torch.tensor(load)).square().sum().backward()


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    """A process group of one."""
    meeting = tmp_path_factory.mktemp("group") / "meeting"
    dist.init_process_group("gloo", f"file://{meeting}", rank=0, world_size=1)
    yield
    gc.collect()
    dist.destroy_process_group()


@pytest.mark.parametrize("bank", experts.available())
def test_graph_does_not_grow_with_experts(bank):
    """Indexing a stacked weight once per expert makes the backward pass quadratic in E."""
    nodes = {}
    for num_experts in (2, 16):
        wide = bank_of(bank, num_experts)
        rows = rows_for(wide, 32)
        nodes[num_experts] = graph_nodes(wide(rows, torch.full((num_experts,), 32 // num_experts)))
    if bank in ONE_STEP_EACH:
        assert len(nodes[16]) <= 16 * 9
    else:
        assert len(nodes[16]) == len(nodes[2])
    assert "SelectBackward0" not in nodes[16]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("inputs", "outputs"), [(8, 16), (3, 5), (1, 8)])
def test_grouped_linear_on_either_path(inputs, outputs, dtype):
    torch.manual_seed(0)
    load = torch.tensor([0, 3, 0, 1, 0])
    rows = torch.randn(4, inputs, dtype=dtype, requires_grad=True)
    weight = torch.randn(5, inputs, outputs, dtype=dtype, requires_grad=True)
    out = grouped_linear(rows, weight, load)
    expected = torch.stack([rows[0], rows[1], rows[2], rows[3]]).unsqueeze(1)
    expected = (expected @ weight[[1, 1, 1, 3]]).squeeze(1)
    torch.testing.assert_close(out, expected, rtol=0.02, atol=0.02)
    probe = torch.randn(4, outputs, dtype=dtype)
    got = torch.autograd.grad(out, [rows, weight], probe)
    wanted = torch.autograd.grad(expected, [rows, weight], probe)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=0.02, atol=0.02)
    assert not got[1][[0, 2, 4]].any()
