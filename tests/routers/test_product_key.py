"""Product keys: the best of all experts without scoring all, and without (N, E) tensors."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import experts
import routers
from experts import MoE, MultiGateMoE
from routers import LOSSES, ConfigError, Items, LayerMetrics

LARGE = 2**16
EPS = torch.finfo(torch.float32).eps


def every_score(router, x):
    """Each head's scores of all experts, ``(H, N, E)``."""
    q = torch.einsum("nd,hwd->hnw", x, router.query)
    q = (q - q.mean(-1, keepdim=True)) / (q.var(-1, keepdim=True, correction=0) + 1e-5).sqrt()
    first, second = q.chunk(2, -1)
    rows = first @ router.row_key.transpose(1, 2)
    columns = second @ router.column_key.transpose(1, 2)
    return (rows.unsqueeze(-1) + columns.unsqueeze(-2)).flatten(2)


@pytest.mark.parametrize("experts", [4, 6, 12, 64, 1000])
@pytest.mark.parametrize("k", [2, 4])
def test_the_best_of_all(experts, k):
    torch.manual_seed(0)
    router = routers.build("product_key", 8, experts, k=k)
    x = torch.randn(20, 8)
    routing = router(Items(x))
    score, expert = every_score(router, x)[0].topk(k)
    found, order = routing.expert.view(20, k).sort(1)
    assert torch.equal(found, expert.sort(1).values)
    expected = score.softmax(-1).gather(1, expert.argsort(1))
    torch.testing.assert_close(routing.weight.view(20, k).gather(1, order), expected)


def test_what_several_heads_choose_comes_once_with_their_sum():
    torch.manual_seed(0)
    router = routers.build("product_key", 8, 16, k=3, heads=4)
    x = torch.randn(30, 8)
    routing = router(Items(x))
    wanted = torch.zeros(30, 16)
    for scores in every_score(router, x):
        best, expert = scores.topk(3)
        wanted.scatter_add_(1, expert, best.softmax(-1))
    found = torch.zeros(30, 16)
    found[routing.item, routing.expert] = routing.weight
    torch.testing.assert_close(found, wanted)
    assert routing.num_assignments == int((wanted > 0).sum()) < 30 * 12
    torch.testing.assert_close(routing.to_dense(routing.probs).sum(1), torch.ones(30))


def test_sums_of_candidates_are_those_of_all():
    torch.manual_seed(0)
    router = routers.build("product_key", 8, 36, k=3, heads=2)
    mask = torch.arange(12) % 5 != 1
    routing = router(Items(torch.randn(12, 8), groups=3, mask=mask))
    grid = routing.to_dense(routing.probs) * mask.unsqueeze(1)
    torch.testing.assert_close(routing.prob_sums, grid.sum(0))
    torch.testing.assert_close(routing.prob_sums_by_group, grid.view(3, 4, 36).sum(1))
    taken = routing.to_dense(routing.candidate_mask.double()) > 0
    assert torch.equal(taken, routing.assigned_mask)


@pytest.mark.parametrize(("experts", "k"), [(4, 2), (6, 3), (16, 2), (16, 4)])
def test_places_that_hold_nothing_are_not_taken_and_have_no_margin(experts, k):
    """Expert 0, which fills them, is among the chosen of some items."""
    torch.manual_seed(0)
    router = routers.build("product_key", 8, experts, k=k, heads=2)
    mask = torch.arange(200) % 7 != 3
    routing = router(Items(torch.randn(200, 8), mask=mask))
    assert routing.candidate_mask.sum() == routing.num_assignments
    assert routing.assigned_mask[:, 0].any()
    margins = []
    for p, chosen in zip(
        routing.to_dense(routing.probs)[mask], routing.assigned_mask[mask], strict=True
    ):
        if not chosen.all():
            margins.append(p[chosen].min().item() - p[~chosen].max().item())
    metric = LayerMetrics(experts)
    metric.update(routing)
    assert metric.compute()["margin"] == pytest.approx(sum(margins) / len(margins), abs=EPS)


@pytest.mark.parametrize("heads", [1, 2])
def test_z_is_the_mean_over_heads_of_their_squares(heads):
    """One head's scores about 3 and the other's about -3 do not make 0."""
    torch.manual_seed(0)
    router = routers.build("product_key", 8, 16, k=4, heads=heads)  # 4 of 4 rows and columns: all
    mask = torch.arange(12) % 5 != 1
    x = torch.randn(12, 8)
    value = LOSSES["z"](router(Items(x, mask=mask)))
    scores = every_score(router, x)[:, mask]
    torch.testing.assert_close(value, scores.logsumexp(-1).square().mean())
    value.backward()
    assert all(each.any() for each in router.row_key.grad)


def test_z_of_several_gates_is_the_mean_of_theirs():
    torch.manual_seed(0)
    gates = [routers.build("product_key", 8, 16, heads=2) for _ in range(3)]
    layer = MultiGateMoE(gates, experts.build("singleton", 8, 16), experts.mmoe(16, tasks=3))
    x = torch.randn(1, 12, 8)
    each = [LOSSES["z"](gate(Items(x[0]))) for gate in gates]
    torch.testing.assert_close(LOSSES["z"](layer(x)[1]), torch.stack(each).mean())


class Largest(TorchDispatchMode):
    """Notes the most elements of any tensor made inside."""

    most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        sizes = [t.numel() for t in tree_leaves(out) if isinstance(t, torch.Tensor)]
        self.most = max([self.most, *sizes])
        return out


def test_nothing_grows_with_items_times_experts():
    """The largest tensors are the two gradients of the tables, ``(E, D)``."""
    layer = MoE(
        routers.build("product_key", 8, LARGE, heads=2), experts.build("singleton", 8, LARGE)
    )
    metric = LayerMetrics(LARGE)
    x = torch.randn(64, 8, requires_grad=True)
    with Largest() as largest:
        y, routing = layer(x)
        loss = y.square().mean()
        for name in ("switch", "z", "importance", "squared_deviation", "entropy", "diversity"):
            loss = loss + LOSSES[name](routing)
        loss.backward()
        metric.update(routing)
    assert largest.most == 8 * LARGE
    assert metric.compute()["margin"] is not None
    assert layer.bank.into.grad.any(1).sum() == layer.bank.out.grad.any(1).sum()
    assert torch.equal(layer.bank.into.grad.any(1), routing.load > 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"num_experts": 7},
            "num_experts=7 is invalid: expected a product of two .* squares: 4, 9",
        ),
        ({"num_experts": 1}, "num_experts=1 .* squares: 4"),
        ({"k": 1}, "router.k=1 is invalid: expected an integer in .2, num_experts=16."),
        ({"k": 17}, "router.k=17"),
        ({"heads": 0}, "router.heads=0 is invalid: expected an integer >= 1"),
        ({"width": 2}, "router.width=2 is invalid: expected an even integer >= 4"),
        ({"width": 7}, "router.width=7"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ConfigError, match=message):
        routers.build("product_key", 8, options.pop("num_experts", 16), **options)
