"""Experts that are copies of a dense module."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from routers.blocks import call_hooks

from .._bank import EXPERTS, Bank
from .module_bank import ModuleBank
from .shapes import Rows, modes_kept


def copies_of(module: nn.Module, num_experts: int, rows: Rows) -> Bank:
    """A bank whose every expert computes what a module does.

    Types, devices, modes and frozen parameters are those of the module. A gated feed-forward
    network with a SiLU and without biases, as that of Llama, becomes a ``glu``; anything else
    copies in a ``ModuleBank``.

    >>> bank = copies_of(nn.Linear(4, 4), 3, Rows(4, ("D",)))
    >>> bank.num_experts, bank.experts[2].weight.equal(bank.experts[0].weight)
    (3, True)
    """
    if _is_gated(module):
        return _as_glu(module, num_experts)
    return ModuleBank.of([deepcopy(module) for _ in range(num_experts)], *rows)


def _is_gated(module: nn.Module) -> bool:
    """Whether a module is ``down_proj(silu(gate_proj(x)) * up_proj(x))`` and nothing else."""
    linear: list[Any] = [getattr(module, f"{name}_proj", None) for name in ("gate", "up", "down")]
    plain = [each.weight for each in linear if type(each) is nn.Linear and each.bias is None]
    if len(plain) < 3 or len([*module.parameters(), *module.buffers()]) > 3:
        return False
    if any(any(call_hooks(each)) or "forward" in vars(each) for each in module.modules()):
        return False
    if len({(w.requires_grad, w.dtype, w.device) for w in plain}) > 1 or plain[0].is_meta:
        return False
    return _computes(module, plain)


@torch.no_grad()
def _computes(module: nn.Module, weights: list[Tensor]) -> bool:
    """Whether outputs for random rows are those of the formula, in training and evaluation."""
    wide = torch.promote_types(weights[0].dtype, torch.float32)
    gate, up, down = (weight.to(wide).T for weight in weights)
    x = torch.randn(16, len(gate), generator=torch.Generator().manual_seed(0))
    x = x.to(weights[0].device, weights[0].dtype)
    rows = x.to(wide)
    expected = (nn.functional.silu(rows @ gate) * (rows @ up)) @ down
    near = 100 * torch.finfo(x.dtype).eps * float(expected.abs().max())
    for training in (True, False):  # dropout has an effect in training alone
        with modes_kept(module), torch.random.fork_rng(devices=[]):
            y = module.train(training)(x).to(wide)
        if not torch.allclose(y, expected, rtol=0, atol=near):
            return False
    return True


@torch.no_grad()
def _as_glu(module: nn.Module, num_experts: int) -> Bank:
    gate, up, down = (getattr(module, f"{name}_proj").weight for name in ("gate", "up", "down"))
    with torch.random.fork_rng(devices=[]):
        bank = EXPERTS.build("glu", gate.shape[1], num_experts, hidden=gate.shape[0])
    bank.to(gate.device, gate.dtype).train(module.training).requires_grad_(gate.requires_grad)
    bank.get_parameter("gate_and_up").copy_(torch.cat([gate, up]).T)
    bank.get_parameter("down").copy_(down.T)
    return bank
