"""Execution in shapes that do not depend on the data: every expert works on every item."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from routers import ConfigError, Routing
from routers.routing import Combine, Defaults, Merge, Slots

from .._bank import Bank
from .slots import to_items, to_slots


def mix_static(x: Tensor, routing: Routing, bank: Bank) -> Tensor:
    """Compute what ``mix`` computes for rows ``(N, D)``, in a form that can be traced.

    No shape and no branch depends on values. The cost is that of all ``N * E`` pairs.
    """
    if routing.weight.dim() > 1:
        raise ConfigError("weights for several tasks have no static form")
    y = _FORMS[type(routing.execution)](routing.execution, x, routing, bank).to(x.dtype)
    return y if routing.mask is None else y.masked_fill(~routing.mask.unsqueeze(1), 0.0)


def _outputs(x: Tensor, bank: Bank) -> Tensor:
    """The outputs of all experts for all items, ``(N, E, D)``."""
    rows = x.expand(bank.num_experts, *x.shape)
    return bank.run_even(rows, _stacks(bank)).transpose(0, 1)


def _stacks(bank: Bank) -> list[Tensor]:
    return [bank.get_parameter(name) for name in bank.expert_parameters]


def _sum(_: None, x: Tensor, routing: Routing, bank: Bank) -> Tensor:
    out = _outputs(x, bank)
    weight = routing.mean_weights.to(out.dtype).unsqueeze(-1)
    return torch.where(weight != 0, out * weight, 0.0).sum(1)  # an idle expert may overflow


def _through_slots(slots: Slots, x: Tensor, routing: Routing, bank: Bank) -> Tensor:
    groups = slots.dispatch.shape[0]
    rows = to_slots(x, slots).view(groups, bank.num_experts, -1, x.shape[1]).transpose(0, 1)
    out = bank.run_even(rows.flatten(1, 2), _stacks(bank)).view(rows.shape)
    return to_items(out.transpose(0, 1).flatten(0, 2), slots)


def _merged(merge: Merge, x: Tensor, routing: Routing, bank: Bank) -> Tensor:
    means = [merge.weight.to(s.dtype) @ s.flatten(1) for s in _stacks(bank)]
    parts = merge.weight.shape[0]
    stacks = [m.view(parts, *s.shape[1:]) for m, s in zip(means, _stacks(bank), strict=True)]
    return bank.run_even(x.view(parts, -1, x.shape[1]), stacks).view(x.shape)


def _combined(execution: Combine, x: Tensor, routing: Routing, bank: Bank) -> Tensor:
    out, weight = _outputs(x, bank), routing.mean_weights
    wide = torch.promote_types(out.dtype, torch.float32)
    out = torch.where(weight.unsqueeze(-1) != 0, out.to(wide), 0.0)
    with torch.autocast(out.device.type, enabled=False):
        return execution.combiner.combine(out, weight.to(wide))


def _with_defaults(execution: Defaults, x: Tensor, routing: Routing, bank: Bank) -> Tensor:
    absent = routing.probs.masked_fill(routing.mean_weights != 0, 0.0)
    return _sum(None, x, routing, bank) + absent.to(x.dtype) @ execution.outputs.means.to(x.dtype)


_FORMS: dict[type, Callable[[Any, Tensor, Routing, Bank], Tensor]] = {
    type(None): _sum,
    Slots: _through_slots,
    Merge: _merged,
    Combine: _combined,
    Defaults: _with_defaults,
}
