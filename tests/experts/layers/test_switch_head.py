"""SwitchHead against a loop over items, heads and experts."""

import math
from functools import partial

import pytest
import torch

import experts
import routers
from experts import Adaptation, SwitchHead, attend_to_all, attend_to_past, rotary, skip_experts
from routers import LOSSES, ConfigError

REAL = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]).bool()
D, E, H, P, L = 6, 3, 2, 4, 4


def layer_of(router="sigmoid", attend=attend_to_all, options=(), heads=H, **settings):
    torch.manual_seed(0)
    if router == "sigmoid":
        options = {"weighting": "probability", "rate": 0.5, **dict(options)}
    built = [routers.build(router, D, E, **dict(options)) for _ in range(2 * heads)]
    return SwitchHead(built[:heads], built[heads:], width=P, attend=attend, **settings).double()


def looped(layer, x, routing, mask, causal):
    """Assignment by assignment, position by position; experts are V of all heads, then O."""
    queries, keys = torch.einsum("jhpd,bld->jhblp", layer.query_key.weight.view(2, H, P, D), x)
    values = [[[torch.zeros(P, dtype=x.dtype)] * L for _ in x] for _ in range(H)]
    assignments = list(zip(routing.item, routing.expert, routing.weight, strict=True))
    for item, expert, weight in assignments:
        if expert < H * E:
            h, (b, s) = expert // E, divmod(int(item), L)
            values[h][b][s] = values[h][b][s] + weight * (x[b, s] @ layer.bank.weight[expert])
    y = [[torch.zeros(D, dtype=x.dtype)] * L for _ in x]
    for item, expert, weight in assignments:
        if expert >= H * E:
            h, (b, t) = expert // E - H, divmod(int(item), L)
            seen = [s for s in range(t + 1 if causal else L) if mask is None or mask[b, s]]
            scores = torch.stack([queries[h, b, t] @ keys[h, b, s] for s in seen])
            scores = (scores / math.sqrt(P)).softmax(0)
            head = sum(p * values[h][b][s] for p, s in zip(scores, seen, strict=True))
            y[b][t] = y[b][t] + weight * (layer.bank.weight[expert] @ head)
    return torch.stack([torch.stack(row) for row in y])


@pytest.mark.parametrize(
    ("router", "options", "settings"),
    [
        ("sigmoid", {"k": 2}, {}),
        ("topk", {"k": 2}, {"capacity": 0.6, "renormalize": True}),
        ("top_p", {"threshold": 0.5}, {}),
        ("soft_mixture", {}, {}),
    ],
)
def test_values_and_outputs_are_mixtures(router, options, settings):
    for attend, mask in ((attend_to_past, None), (attend_to_all, REAL)):
        layer = layer_of(router, attend, options.items(), **settings)
        x = torch.randn(2, L, D, dtype=torch.float64, requires_grad=True)
        given = x if mask is None else torch.where(mask.unsqueeze(-1), x, torch.nan)
        y, routing = layer(given, mask=mask)
        blank = x if mask is None else torch.where(mask.unsqueeze(-1), x, 0.0)
        wanted = looped(layer, blank, routing, mask, attend is attend_to_past)
        torch.testing.assert_close(y, wanted)
        before = routing if routing.before is None else routing.before
        assert before.weight.shape == (before.num_assignments,)
        own = [x, *layer.parameters()]
        pairs = (torch.autograd.grad(z.square().sum(), own, retain_graph=True) for z in (y, wanted))
        for one, other in zip(*pairs, strict=True):
            torch.testing.assert_close(one, other)


def test_the_routing_is_that_of_all_routers():
    """Each expert, weight and loss is that of one router, which adapts to its own load."""
    layer = layer_of(options={"k": 2}.items(), capacity=0.7).train()
    x = torch.randn(2, L, D, dtype=torch.float64)
    adaptation, (_, routing) = Adaptation([layer.router]), layer(x)
    single = [router(routers.Items(x.view(8, D), 2)) for router in layer.router.gates]
    assert routing.num_experts == 2 * H * E
    assert routing.requested_load.equal(torch.cat([each.load for each in single]))
    assert routing.load.sum() < routing.requested_load.sum()
    torch.testing.assert_close(routing.importance, torch.cat([r.importance for r in single]))
    probs = torch.cat([each.probs for each in single], 1) / (2 * H)
    torch.testing.assert_close(routing.probs, probs)
    for name in ("switch", "z"):
        mean = sum(LOSSES[name](each) for each in single) / (2 * H)
        torch.testing.assert_close(LOSSES[name](layer_of(options={"k": 2}.items())(x)[1]), mean)
    adaptation.observe([routing])
    adaptation.finish_step()
    for router, own in zip(layer.router.gates, single, strict=True):
        alone = routers.build("sigmoid", D, E, rate=0.5)
        alone.adapt(own.load)
        torch.testing.assert_close(router.bias.value, alone.bias.value.double(), check_dtype=False)


def test_flops_are_those_that_are_counted():
    x = torch.randn(2, L, D, dtype=torch.float64)
    for router, settings in (("topk", {}), ("topk", {"capacity": 0.5}), ("top_p", {})):
        layer = layer_of(router, **settings)
        routing = layer(x)[1]
        counted = experts.count_flops(partial(layer, x))
        gates = 2 * H * 8 * 2 * D * E
        assert counted == layer.flops(routing, (D,)) + gates
        assert experts.count_flops_of(layer.each_router, partial(layer, x)) == gates
        with skip_experts([layer]):  # attention is no part of the experts
            outside = experts.count_flops(partial(layer, x))
        assert outside + layer.expert_flops(routing.load.tolist(), 8, (D,)) == counted
    queries_and_keys, attention = 8 * 2 * D * 2 * H * P, 2 * H * L * L * 4 * P
    assert outside == gates + queries_and_keys + attention


def test_one_expert_is_common_attention():
    """With one expert of weight 1 it has the outputs of attention with positions."""
    torch.manual_seed(0)
    built = [routers.build("uniform", D, 1, k=1) for _ in range(2 * H)]
    layer = SwitchHead(built[:H], built[H:], width=P, attend=partial(rotary, attend_to_past))
    x, (value, output) = torch.randn(2, L, D), layer.bank.weight.chunk(2)
    query, key = layer.query_key(x).view(2, L, 2, H, P).permute(2, 0, 3, 1, 4)
    heads = rotary(attend_to_past, query, key, torch.einsum("bld,hdp->bhlp", x, value), None)
    torch.testing.assert_close(layer(x)[0], torch.einsum("bhlp,hdp->bld", heads, output))
    assert layer(x)[1].weight.eq(1).all()


def test_what_cannot_work():
    x = torch.randn(2, L, D, dtype=torch.float64)
    topk = routers.build("topk", D, E)
    plain = experts.MoE(topk, experts.build("mlp", D, E))
    rounds = experts.RoundsMoE([topk], experts.build("mlp", D, E))
    like = partial(SwitchHead.like, heads=H, width=P, attend=attend_to_all)
    made = like(plain)
    assert not made.router.gates[0].gate.weight.equal(made.router.gates[1].gate.weight)
    for build, message in (
        (lambda: layer_of("merged"), "Merged averages the parameters of experts, so it does not"),
        (lambda: layer_of("expert_choice")(x), "ExpertChoice does not choose experts for each"),
        (lambda: layer_of("soft_moe")(x), "router: its experts work on slots.* such as topk"),
        (lambda: layer_of(heads=0), "0 sources and 0 destinations of no size: expected one of"),
        (lambda: SwitchHead([topk], [topk] * 2), "1 sources and 2 destinations of dim=6 num_exp"),
        (lambda: SwitchHead([topk], [topk], width=0), "width=0 is invalid"),
        (lambda: SwitchHead([topk] * 7, [topk] * 7), "width=0 is invalid"),
        (lambda: layer_of(keep_outputs=True)(x), "keep_outputs: experts of values and of outputs"),
        (lambda: layer_of(shared=plain.bank), "shared: routed attention has none"),
        (lambda: like(rounds), "routed attention has no form of RoundsMoE; set moe.rounds=1"),
        (lambda: experts.take_experts(layer_of(), [1, 0, *range(2, 12)]), "each router of SwitchH"),
        (lambda: experts.check_split(layer_of(), 2), "attention heads work on rows of this"),
        (lambda: experts.INTERVENTIONS.build("mean", layer_of()), "mean: experts of SwitchHead"),
        (lambda: experts.INTERVENTIONS.build("random", layer_of()), "random: gates choose among"),
        (lambda: experts.swap_router(layer_of(), "topk"), "several gates; replace the router"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            build()
    norms = experts.measured([plain, made.double()], partial(experts.CRITERIA.build, "norm"))
    with norms, pytest.raises(ConfigError, match="by=norm: Gates gives no single weight"):
        made(x)
