"""Auxiliary losses against numbers computed by hand and by NumPy."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import experts
import routers
from routers import LOSSES, ConfigError, Items, Routing
from routers.losses import cv_squared, entropies, levels_of, loss_of

from ...router_samples import layout, one_of_each, traits

LOG2 = math.log(2)
EPS = torch.finfo(torch.float32).eps


def takes_a_gate(name):
    return "gate" in routers.ROUTERS.options(name) and traits(name).has_logits


def routing(expert: list[list[int]], e: int, mask: list[bool] | None = None, **extra) -> Routing:
    items = Items(torch.zeros(len(expert), 1), mask=None if mask is None else torch.tensor(mask))
    chosen = torch.tensor(expert)
    weight = torch.full(chosen.shape, 1 / chosen.shape[1])
    return Routing.by_item(items, chosen, weight, e, **extra)


def value(name: str, of: Routing, **options) -> float:
    return LOSSES[name](of, **options).item()


#: Every loss with its options, once per level.
EVERY = [
    pytest.param(name, {"level": level} if level else {}, id=f"{name} {level}".strip())
    for name, loss in LOSSES.items()
    for level in levels_of(loss) or [""]
]


def test_importance():
    # masses 1 and 3: mean 2, variance 1, 1 / 4
    assert value("importance", routing([[0], [1], [1], [1]], 2)) == pytest.approx(0.25)
    assert value("importance", routing([[0, 1]] * 3, 2)) == 0


def test_load():
    assert value("load", routing([[0]], 2, expected_load=torch.tensor([1.0, 3.0]))) == 0.25


def test_load_without_an_estimate_says_what_to_use():
    with pytest.raises(ConfigError, match=r"losses\.load.*losses\.switch.*noisy_topk"):
        LOSSES["load"](routing([[0]], 2))


def test_switch_by_hand():
    # f = (3/4, 1/4), P = (.6, .4): 2 (.45 + .1)
    probs = torch.tensor([[0.6, 0.4]]).repeat(4, 1)
    assert value("switch", routing([[0], [0], [0], [1]], 2, probs=probs)) == pytest.approx(1.1)


def test_imitation():
    # log(1 + 1/3) and log 4, padding left out
    scores = torch.tensor([[0.0, math.log(3)], [math.log(3), 0.0], [9.0, 0.0]])
    extras = {"imitator": scores, "imitated": torch.tensor([1, 1, 1])}
    found = routing([[0]] * 3, 2, mask=[True, True, False], extras=extras)
    assert value("imitation", found) == pytest.approx(math.log(16 / 3) / 2)
    with pytest.raises(ConfigError, match=r"losses\.imitation: .*router\.predictor=linear"):
        LOSSES["imitation"](routing([[0]], 2))


@pytest.mark.parametrize("k", [1, 2, 3])
def test_switch_is_one_at_balance_for_any_k(k):
    expert = [[(i + j) % 6 for j in range(k)] for i in range(6)]
    assert value("switch", routing(expert, 6, logits=torch.zeros(6, 6))) == pytest.approx(1)


def test_switch_counts_all_choices():
    # first choices only would give f = (1, 0, 0) and 3 * .5 = 1.5; all give f = (1/2, 1/4, 1/4)
    probs = torch.tensor([[0.5, 0.3, 0.2]] * 2)
    both = routing([[0, 1], [0, 2]], 3, probs=probs)
    assert value("switch", both) == pytest.approx(3 * (0.25 + 0.075 + 0.05))


def test_switch_counts_before_drops():
    probs = torch.tensor([[0.6, 0.4]]).repeat(4, 1)
    full = routing([[0], [0], [0], [1]], 2, probs=probs)
    dropped = full.limit(0.5)
    assert dropped.load.tolist() == [1, 1]
    assert value("switch", dropped) == pytest.approx(1.1)


@pytest.mark.parametrize(
    "name",
    [name for name in routers.available() if "fan_in" in layout(name) and not traits(name).merges],
)
def test_switch_is_one_where_experts_take_equally_many(name):
    router = routers.build(name, 4, 4)
    items = Items(torch.randn(8, 4), task=torch.arange(8) % 2)
    assert value("switch", router(items)) == pytest.approx(1)


def test_switch_is_one_where_all_experts_are_as_probable():
    even = torch.full((3, 2), 0.5)
    assert value("switch", routing([[0], [0], [1]], 2, probs=even)) == pytest.approx(1)


def test_squared_deviation():
    # mean gate (.75, .25) against (.5, .5): 2 * .0625
    probs = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    assert value("squared_deviation", routing([[0], [0]], 2, probs=probs)) == pytest.approx(0.125)


def test_z():
    # logsumexp of (0, 0) and (log 3, 0): log 2 and log 4 = 2 log 2
    logits = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])
    assert value("z", routing([[0], [0]], 2, logits=logits)) == pytest.approx(2.5 * LOG2**2)


def test_z_without_logits_says_so():
    with pytest.raises(ConfigError, match=r"losses\.z.*no logits"):
        LOSSES["z"](routing([[0]], 2))


def test_entropy():
    probs = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    assert value("entropy", routing([[0], [0]], 2, probs=probs)) == pytest.approx(LOG2 / 2)


def test_diversity():
    split = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    alike = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert value("diversity", routing([[0], [1]], 2, probs=split)) == pytest.approx(0, abs=8 * EPS)
    assert value("diversity", routing([[0], [0]], 2, probs=alike)) == pytest.approx(LOG2)


def layer(rows, projections=None, training=False):
    """What losses read of a layer: a linear gate with these rows, and projections of experts."""
    router = routers.build("topk", rows.shape[1], len(rows), k=2).train(training)
    router.gate.weight = torch.nn.Parameter(rows)
    return SimpleNamespace(router=router, bank=SimpleNamespace(projections=lambda: projections))


def test_simbal():
    # R R^T is [[1, .6], [.6, 4]]: 0 + .6 + .6 + 3
    rows = torch.tensor([[1.0, 0.0], [0.6, 3.64**0.5]])
    assert loss_of(LOSSES["simbal"], routing([[0]], 2), layer(rows)).item() == pytest.approx(4.2)
    gates = [layer(each).router for each in (rows, torch.eye(2))]
    both = experts.MultiGateMoE(gates, experts.build("mlp", 2, 2), experts.mmoe(2, tasks=2))
    assert loss_of(LOSSES["simbal"], routing([[0]], 2), both).item() == pytest.approx(2.1)
    tasks = routers.build("task_gate", 2, 2, tasks=2)
    tasks.gate.weight = torch.nn.Parameter(torch.cat([rows, torch.eye(2)]))
    of_tasks = SimpleNamespace(router=tasks)
    assert loss_of(LOSSES["simbal"], routing([[0]], 2), of_tasks).item() == pytest.approx(2.1)
    for gate in ("mlp", "cosine"):
        other = SimpleNamespace(router=routers.build("topk", 2, 2, gate=gate))
        with pytest.raises(ConfigError, match=r"losses\.simbal: TopK has no linear gate.*linear"):
            loss_of(LOSSES["simbal"], routing([[0]], 2), other)


def test_coupling():
    coupling, one = LOSSES["coupling"], routing([[0]], 2)
    # M_ij = |r_i P_j|: [[5, 2], [8, 1]]; above M_00: 8 - 5, above M_11: 2 - 1 and 8 - 1
    rows = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    read = torch.tensor([[[3.0, 4.0], [0.0, 4.0]], [[2.0, 0.0], [0.0, 0.5]]])
    assert loss_of(coupling, one, layer(rows, read)).item() == pytest.approx(11 / 4)
    half = loss_of(coupling, one, layer(rows, read), alpha=0.5)  # and less of M_ii: 5.5, 1.5, 7.5
    assert half.item() == pytest.approx((5.5 + 1.5 + 7.5) / 4)
    torch.manual_seed(0)  # noise up to half the distance: rows stay nearest to themselves
    values = [loss_of(coupling, one, layer(rows, read, training=True)).item() for _ in range(200)]
    # |r_0 - r_1| is 5**.5: both M_0j change by up to 5**.5 / 2, both M_1j by up to 5**.5 / 4
    assert len(set(values)) > 100
    assert min(values) > 0.5
    with pytest.raises(ConfigError, match=r"losses\.coupling\.alpha=2 is invalid"):
        loss_of(coupling, one, layer(rows, read), alpha=2)
    with pytest.raises(ConfigError, match="has no method projections"):
        loss_of(coupling, one, layer(rows))


def test_rows_of_gates_of_part_of_the_experts():
    """A gate's row stands for the expert of its branch, not for that of its place."""
    topology = experts.cgc(3, tasks=2, shared=1)
    gates = [layer(torch.randn(2, 3)).router.eval() for _ in range(2)]
    bank = experts.build("mlp", 3, 3)
    joint = experts.MultiGateMoE(gates, bank, topology).eval()
    wanted = [
        loss_of(
            LOSSES["coupling"],
            routing([[0]], 2),
            layer(gate.gate.weight.data, bank.projections()[list(branch.experts)]),
        )
        for gate, branch in zip(gates, topology.branches, strict=True)
    ]
    found = loss_of(LOSSES["coupling"], routing([[0]], 3), joint)
    torch.testing.assert_close(found, torch.stack(wanted).mean())


def test_output_orthogonality():
    loss = LOSSES["output_orthogonality"]
    of = routing([[0, 1], [2, 0], [1, 2]], 3, [True, True, False])
    outputs = torch.tensor([[3.0, 0.0], [1.0, 1.0], [0.0, 2.0], [5.0, 0.0]])
    assert loss(of, outputs).item() == pytest.approx(0.25)  # squared cosines 1/2 and 0
    by_expert = routing([[0]], 3)  # three experts of item 0, one of item 1, in any order
    by_expert = replace(
        by_expert,
        item=torch.tensor([1, 0, 0, 0]),
        expert=torch.tensor([0, 0, 2, 1]),
        num_items=2,
        fan_out=None,
    )
    outputs = torch.tensor([[9.0, 9.0], [1.0, 0.0], [0.0, 1.0], [-1.0, 1.0]]).requires_grad_()
    value = loss(by_expert, outputs)
    assert value.item() == pytest.approx((0 + 0.5 + 0.5) / 3)
    value.backward()
    assert outputs.grad[0].tolist() == [0, 0]
    assert loss(routing([[0], [1]], 3), torch.randn(2, 4)).item() == 0
    assert loss(by_expert, torch.zeros(4, 2)).item() == 0


def test_routing_variance():
    # variances of (.9, .5) and (.1, .5) are .04; of the masked item nothing
    probs = torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.0, 1.0]])
    of = routing([[0], [0], [1]], 2, [True, True, False], probs=probs)
    assert value("routing_variance", of) == pytest.approx(0.5 - 2 * 0.04)


def test_mutual_information():
    # P(t, e) of (.5, 0) and (.25, .25): H(T, E) = 1.5 log 2, H(E) of (.75, .25)
    probs = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.2, 0.8], [0.8, 0.2], [0.3, 0.7]])
    task = torch.tensor([7, 7, 3, 3, 3])
    mask = torch.tensor([True] * 4 + [False])
    items = Items(torch.zeros(5, 1), mask=mask, task=task)
    of = Routing.by_mask(items, probs)
    shared = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert value("mutual_information", of) == pytest.approx(1.5 * LOG2 - shared)
    with pytest.raises(ConfigError, match=r"losses\.mutual_information: items have no task"):
        value("mutual_information", replace(of, task=None))


def test_response_distance():
    # gate (.8, .2) and (1, 0); responses are equal for item 0, item 1 has one expert
    logits = torch.tensor([[math.log(4), 0.0, 9.0], [0.0, 5.0, 0.0]], requires_grad=True)
    items = Items(torch.zeros(2, 1))
    keep = torch.tensor([[True, True, False], [False, True, False]])
    of = Routing.by_mask(items, torch.ones(2, 3), keep, logits=logits)
    outputs = torch.tensor([[1.0, 2.0], [2.0, 1.0], [0.0, 0.0]], requires_grad=True)
    found = LOSSES["response_distance"](of, outputs)
    assert found.item() == pytest.approx(2 * 0.3**2 / 3)
    found.backward()
    assert outputs.grad is None
    assert logits.grad[0, 0] > 0
    assert logits.grad[0, 2] == logits.grad[1].abs().sum() == 0
    with pytest.raises(ConfigError, match=r"losses\.response_distance: this router has no scores"):
        LOSSES["response_distance"](routing([[0]], 2), outputs[:1])


def test_cv_squared_has_no_gradient_at_balance():
    values = torch.ones(4, requires_grad=True)
    cv_squared(values).backward()
    assert values.grad.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e19, 1e38])
def test_cv_squared_has_no_unit(scale):
    values = (scale * torch.tensor([1.0, 2.0, 3.0])).requires_grad_()
    result = cv_squared(values)
    result.backward()
    assert result.item() == pytest.approx(1 / 6, rel=1e-6)
    expected = [value / scale for value in (-2 / 9, -1 / 18, 1 / 9)]
    assert values.grad.tolist() == pytest.approx(expected, rel=1e-5, abs=1e-44)


def test_scaling_by_a_power_of_two_changes_no_bit():
    values = torch.randn(64, 7, generator=torch.Generator().manual_seed(0)).exp()
    mean = values.mean(-1)
    plain = (values - mean.unsqueeze(-1)).square().mean(-1) / mean.square()
    assert torch.equal(cv_squared(values), plain)


def test_cv_squared_of_nothing_is_zero():
    values = torch.zeros(4, requires_grad=True)
    cv_squared(values).backward()
    assert values.grad.isfinite().all()


@pytest.mark.parametrize("name", one_of_each(layout, takes_a_gate))
@pytest.mark.parametrize("loss", ["importance", "switch", "squared_deviation", "diversity", "z"])
def test_zero_gate_gives_finite_gradients(name, loss):
    router = routers.build(name, 4, 4, gate={"name": "linear", "scale": 0.0})
    LOSSES[loss](router(Items(torch.randn(8, 4)))).backward()
    gradients = [p.grad for p in router.parameters() if p.grad is not None]
    assert gradients
    assert all(g.isfinite().all() for g in gradients)


def test_entropy_has_a_finite_gradient_at_zero():
    probs = torch.tensor([[1.0, 0.0]], requires_grad=True)
    entropies(probs).sum().backward()
    assert probs.grad.isfinite().all()


def test_weights_per_task_are_summed_into_importance():
    weight = torch.tensor([[[0.5, 0.5]], [[1.0, 2.0]]])  # (N, K, T)
    both = Routing.by_item(Items(torch.zeros(2, 1)), torch.tensor([[0], [1]]), weight, 2)
    assert both.importance.tolist() == [1, 3]


def test_losses_keep_nothing():
    one = routing([[0], [0], [0], [1]], 2, probs=torch.tensor([[0.6, 0.4]]).repeat(4, 1))
    assert value("switch", one) == value("switch", replace(one))


# ---- levels: groups, and a whole step ----

SEQUENCE = [name for name, loss in LOSSES.items() if "sequence" in levels_of(loss)]
STEP = [name for name, loss in LOSSES.items() if "step" in levels_of(loss)]


def grouped(expert: list[list[int]], e: int, groups: int, **extra) -> Routing:
    return replace(routing(expert, e, **extra), groups=groups)


def test_every_loss_that_compares_experts_has_its_levels():
    assert SEQUENCE == ["diversity", "importance", "squared_deviation", "switch"]
    assert STEP == ["diversity", "importance", "load", "squared_deviation", "switch"]
    assert all(LOSSES.options(name) == {"level": "batch"} for name in STEP)


def test_an_unknown_level_is_refused():
    with pytest.raises(ConfigError, match="level=sequnce: unknown; did you mean 'sequence'"):
        LOSSES["switch"](routing([[0]], 2), level="sequnce")


def test_switch_sequence_by_hand():
    # group 1: f = (1, 0), P = (.7, .3): 2 * .7; group 2: f = P = (.5, .5): 1; mean 1.2
    probs = torch.tensor([[0.8, 0.2], [0.6, 0.4], [0.5, 0.5], [0.5, 0.5]])
    two = grouped([[0], [0], [0], [1]], 2, 2, probs=probs)
    assert value("switch", two, level="sequence") == pytest.approx(1.2)
    # as one batch: f = (3/4, 1/4), P = (.6, .4)
    assert value("switch", two) == pytest.approx(1.1)


def test_importance_sequence_by_hand():
    # masses (2, 0) and (1, 1): CV^2 is 1 and 0
    two = grouped([[0], [0], [0], [1]], 2, 2)
    assert value("importance", two, level="sequence") == pytest.approx(0.5)


def test_squared_deviation_and_diversity_sequence_by_hand():
    # each group is sure of one expert, the batch is even
    apart = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    two = grouped([[0], [1]], 2, 2, probs=apart)
    assert value("squared_deviation", two, level="sequence") == pytest.approx(0.5)
    assert value("diversity", two, level="sequence") == pytest.approx(LOG2)
    assert value("squared_deviation", two) == pytest.approx(0)


def test_groups_of_padding_alone_are_no_groups():
    probs = torch.tensor([[0.7, 0.3], [0.1, 0.9]])
    mask = [True, False]
    two = grouped([[0], [1]], 2, 2, mask=mask, probs=probs)
    assert value("switch", two, level="sequence") == pytest.approx(1.4)


@pytest.mark.parametrize("name", SEQUENCE)
@pytest.mark.parametrize("router", one_of_each(layout, lambda name: not traits(name).merges))
def test_the_sequence_level_is_the_mean_over_groups_alone(name, router):
    """But for merged experts, whose load a batch counts in whole rows."""
    torch.manual_seed(3)
    built = routers.build(router, 4, 6).double().eval()
    x = torch.randn(15, 4).double()
    mask = torch.arange(15) % 7 != 3
    alone = [
        value(name, built(Items(x[rows], mask=mask[rows]))) for rows in torch.arange(15).view(3, 5)
    ]
    together = built(Items(x, groups=3, mask=mask))
    assert value(name, together, level="sequence") == pytest.approx(sum(alone) / 3)


@pytest.mark.parametrize("name", ["switch", "importance"])
def test_sequence_losses_count_before_drops(name):
    torch.manual_seed(0)
    full = routers.build("topk", 4, 6)(Items(torch.randn(16, 4), groups=2))
    dropped = full.limit(0.5)
    assert dropped.num_assignments < full.num_assignments
    twice = dropped.drop(torch.arange(dropped.num_assignments) > 2)
    values = {value(name, each, level="sequence") for each in (full, dropped, twice)}
    assert len(values) == 1


@pytest.mark.parametrize("name", SEQUENCE)
def test_drops_that_do_not_tell_their_group_are_refused(name):
    lacking = replace(routing([[0], [1]], 2), requested=torch.tensor([2, 2]))
    with pytest.raises(ConfigError, match=r"level sequence.*level batch"):
        LOSSES[name](lacking, level="sequence")


@pytest.mark.parametrize("level", ["sequence", "step"])
def test_load_without_an_estimate_names_the_level(level):
    with pytest.raises(ConfigError, match=rf"losses\.load.* per {level}.*losses\.switch"):
        LOSSES["load"](routing([[0]], 2), level=level)


def test_switch_of_a_step_by_hand():
    # this batch: f = (1, 0), P = (.8, .2); the step so far asked 1 and 3: f = (1/4, 3/4)
    own = routing([[0]], 2, probs=torch.tensor([[0.8, 0.2]]))
    other = routing([[1], [1], [1]], 2, probs=torch.full((3, 2), 0.5))
    step = routers.step_sums(own) + routers.step_sums(other)
    within = replace(own, step_statistics=step)
    assert value("switch", within, level="step") == pytest.approx(2 * (0.25 * 0.8 + 0.75 * 0.2))


@pytest.mark.parametrize(
    ("name", "kind"), [*((name, "noisy_topk") for name in STEP), ("load", "hierarchical")]
)
def test_the_mean_of_gradients_within_a_step_is_that_of_one_large_batch(name, kind):
    torch.manual_seed(0)
    router = routers.build(kind, 4, 6).double().eval()  # no noise, an estimate all the same
    x = torch.randn(3, 8, 4, dtype=torch.float64)
    plain = LOSSES[name]
    gates = [values for name, values in router.named_parameters() if name.endswith("gate.weight")]

    def gradient(loss):
        return torch.cat(
            torch.autograd.grad(loss, gates, retain_graph=True, materialize_grads=True)
        )

    whole = gradient(plain(router(Items(x.flatten(0, 1)))))
    parts = [router(Items(part)) for part in x]
    step = sum(routers.step_sums(part) for part in parts)
    mean = sum(plain(replace(part, step_statistics=step), level="step") for part in parts) / 3
    gathered = gradient(mean)
    assert whole.abs().max() > 1e-4
    torch.testing.assert_close(gathered, whole)
    # each part by itself gives another gradient
    alone = sum(plain(part) for part in parts) / 3
    assert not torch.allclose(gradient(alone), whole, rtol=0.05)


AT_BEST = {"switch": 1.0}


@pytest.mark.parametrize(("name", "options"), [each for each in EVERY if each.values[1]])
def test_levels_at_balance(name, options):
    # each group of two uses both experts alike
    even = grouped(
        [[0], [1]] * 4, 2, 4, logits=torch.zeros(8, 2), expected_load=torch.tensor([4.0, 4.0])
    )
    expected = AT_BEST.get(name, 0.0)
    assert value(name, even, **options) == pytest.approx(expected, abs=8 * EPS)


# ---- every loss against NumPy, one number at a time ----


def np_softmax(h):
    p = np.exp(h - h.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def np_cv2(v):
    return v.var() / v.mean() ** 2


def np_entropy(p):
    return -sum(q * np.log(q) for q in p)


BY_NUMPY = {
    "importance": lambda w, f, p, e: np_cv2(w.sum(0)),
    "switch": lambda w, f, p, e: e * sum(f[j] * p[:, j].mean() for j in range(e)),
    "squared_deviation": lambda w, f, p, e: sum((1 / e - p[:, j].mean()) ** 2 for j in range(e)),
    "diversity": lambda w, f, p, e: np.log(e) - np_entropy(p.mean(0)),
}


@pytest.mark.parametrize("name", BY_NUMPY)
@pytest.mark.parametrize("k", [1, 3])
def test_losses_and_levels_beside_numpy(name, k):
    torch.manual_seed(k)
    n, e, groups = 12, 5, 3
    router = routers.build("topk", 4, e, k=k, weighting="probability").double()
    items = Items(torch.randn(n, 4).double(), groups=groups, mask=torch.arange(n) % 5 != 1)
    routed = router(items)
    weight = np.zeros((n, e))
    p = np_softmax(items.x.numpy() @ router.gate.weight.detach().numpy().T)
    for i in range(n):
        for j in np.argsort(-p[i])[:k]:
            weight[i, j] = p[i, j]
    real = items.mask.numpy()

    def term(rows):
        rows = [i for i in rows if real[i]]
        chosen = (weight[rows] > 0).sum(0)
        return BY_NUMPY[name](weight[rows], chosen / chosen.sum(), p[rows], e)

    assert value(name, routed) == pytest.approx(term(range(n)))
    by_group = [term(range(4 * g, 4 * g + 4)) for g in range(groups)]
    assert value(name, routed, level="sequence") == pytest.approx(np.mean(by_group))


def test_means_over_items_beside_numpy():
    torch.manual_seed(0)
    h = torch.randn(6, 5).double()
    of = routing([[0]] * 6, 5, [True] * 4 + [False] * 2, logits=h)
    p = np_softmax(h.numpy()[:4])
    assert value("entropy", of) == pytest.approx(np.mean([np_entropy(row) for row in p]))
    log_sums = [np.log(np.exp(row).sum()) for row in h.numpy()[:4]]
    assert value("z", of) == pytest.approx(np.mean(np.square(log_sums)))
