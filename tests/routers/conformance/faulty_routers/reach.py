"""Traps 12, 15 and 16: who reaches whom, idle experts and padding."""

from dataclasses import replace

import torch
from torch import nn

from routers import Traits
from routers.depth import Depth
from routers.expert_choice import ExpertChoice
from routers.soft_moe import SoftMoE

from ._planted import Copy, Planted, loss_of, share
from .memory import TallyCountsPadding


class ChoiceThatClaimsCausal(ExpertChoice):
    traits = Traits(per_item=False, causal=True, convex=False)


class ChoiceThatClaimsItems(ExpertChoice):
    traits = Traits(per_item=True, causal=False, equivariant=False, convex=False)


class SlotsThatClaimCausal(SoftMoE):
    traits = Traits(per_item=False, causal=True)


class DepthThatClaimsCausal(Depth):
    """As in training, but with the claim of a predictor."""

    traits = replace(Depth.traits, causal_in_eval=True)


class GateForEachExpert(Copy):
    """An expert's own scorer runs where the expert is chosen, so idle ones leave the graph."""

    def __init__(self, dim, num_experts):
        super().__init__(dim, num_experts)
        self.own = nn.ModuleList(nn.Linear(dim, 1) for _ in range(num_experts))

    def forward(self, items):
        routing = super().forward(items)
        weight = routing.weight.clone()
        for e in routing.expert.unique().tolist():
            at = routing.expert == e
            weight[at] = weight[at] * self.own[e](items.x[routing.item[at]]).squeeze(1).sigmoid()
        return replace(routing, weight=weight)


class NaNForTheIdle(Copy):
    """An expert without rows divides by none of them."""

    def forward(self, items):
        routing = super().forward(items)
        sums = routing.weight.new_zeros(self.num_experts).index_add(
            0, routing.expert, routing.weight
        )
        mean = (sums / routing.load).expand(len(items), -1)
        return replace(routing, logits=routing.logits + 0 * mean)


class RoutesPadding(Copy):
    def forward(self, items):
        return replace(super().forward(replace(items, mask=None)), mask=items.mask)


class ReadsPadding(Copy):
    traits = Traits(per_item=False, causal=False)

    def scores(self, items):
        grouped = items.grouped(self.gate(items))
        return (grouped + grouped.mean(1, keepdim=True)).flatten(0, 1)


@loss_of("switch")
def padding_counts(routing):
    probs = routing.probs.sum(0) / max(routing.num_items, 1)
    return routing.num_experts * (share(routing.requested_load) * probs).sum()


def padding_takes_places(patch):
    def everyone(routing):
        return torch.ones(routing.groups, routing.num_items // routing.groups, dtype=torch.bool)

    patch.setattr("routers.routing.capacity._real", everyone)


PLANTS = [
    Planted(12, ChoiceThatClaimsCausal, "causal", "change earlier routes"),
    Planted(12, ChoiceThatClaimsItems, "per_item", "changes with its batch-mates"),
    Planted(12, SlotsThatClaimCausal, "causal", "change earlier routes"),
    Planted(12, DepthThatClaimsCausal, "causal_in_eval", "causal_in_eval is declared, but"),
    Planted(15, GateForEachExpert, "idle_experts", "refuses unused parameters"),
    Planted(15, NaNForTheIdle, "shapes_and_ranges", "infinity or NaN"),
    Planted(16, RoutesPadding, "padding_is_not_routed", "padding was routed"),
    Planted(16, ReadsPadding, "padding_is_not_read", "leave padding out"),
    Planted(16, TallyCountsPadding, "padding_is_not_read", "counts changes"),
    Planted(16, padding_counts, "padding_is_as_if_absent", "losses.switch differs"),
    Planted(16, padding_takes_places, "capacity", "capacity"),
]
