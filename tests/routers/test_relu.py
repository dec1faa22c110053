"""ReLU routing: weights, updates of the sparsity coefficient, and losses."""

import pytest
import torch

import experts
import routers
from routers import LOSSES, ConfigError, Items, Routing

X = torch.tensor([[2.0, -1.0, 0.5], [-1.0, -2.0, 0.0], [1.0, 3.0, 2.0]])


def identity_router(**options: object) -> routers.Router:
    """Three experts whose scores are the item itself."""
    router = routers.build("relu", 3, 3, **options)
    torch.nn.init.eye_(router.gate.weight)
    return router


def priced(weight: list[list[float]], price: float, **extra: object) -> Routing:
    given = torch.tensor(weight)
    items = Items(torch.zeros(len(weight), 1), **extra)
    return Routing.by_mask(
        items, given, keep=given > 0, extras={"sparsity_coefficient": torch.tensor(price)}
    )


def test_experts_above_zero_weigh_their_score():
    routing = identity_router()(Items(X))
    assert routing.assigned_mask.int().tolist() == [[1, 0, 1], [0, 0, 0], [1, 1, 1]]
    assert routing.weight.tolist() == [2.0, 1.0, 3.0, 0.5, 2.0]  # expert by expert
    torch.testing.assert_close(routing.probs[2], torch.tensor([1 / 6, 1 / 2, 1 / 3]))
    assert routing.probs[1].tolist() == [0.0, 0.0, 0.0]


def test_the_tally_counts_active_experts_and_real_items():
    mask = torch.tensor([True, True, False])
    assert identity_router()(Items(X)).extras["counts"].tolist() == [5, 3]
    assert identity_router()(Items(X, mask=mask)).extras["counts"].tolist() == [2, 2]


@pytest.mark.parametrize(
    ("active", "expected"), [(21, 0.5 * 1.5), (20, 0.5), (19, 0.5 / 1.5), (0, 0.5 / 1.5)]
)
def test_the_price_follows_the_sign_of_the_excess(active, expected):
    router = identity_router(k=2, start=0.01, alpha=1.5)
    router.sparsity_coefficient.value.fill_(0.5)
    router.adapt_from_counts(torch.tensor([active, 10]))
    assert router.sparsity_coefficient.value.item() == pytest.approx(expected)


def test_the_price_stays_within_bounds_and_where_nothing_was_seen():
    router = identity_router(k=2, start=0.01, alpha=10.0)
    for _ in range(9):
        router.adapt_from_counts(torch.tensor([30, 10]))
    assert router.sparsity_coefficient.value.item() == pytest.approx(100)
    router.adapt_from_counts(torch.tensor([0, 0]))
    assert router.sparsity_coefficient.value.item() == pytest.approx(100)
    for _ in range(9):
        router.adapt_from_counts(torch.tensor([10, 10]))
    assert router.sparsity_coefficient.value.item() == pytest.approx(0.01)


def test_a_routing_keeps_the_price_it_was_made_at():
    router = identity_router(k=1, start=0.25, alpha=2.0)
    routing = router(Items(X))
    router.adapt_from_counts(routing.extras["counts"])
    assert (
        routing.extras["sparsity_coefficient"].item(),
        router.sparsity_coefficient.value.item(),
    ) == (
        0.25,
        0.5,
    )


def test_sparsity_is_the_price_of_the_mean_mass():
    # masses 2.5, 0 and 6 of three items
    routing = identity_router(start=0.5)(Items(X))
    assert LOSSES["sparsity"](routing).item() == pytest.approx(0.5 * 8.5 / 3)


def test_balanced_sparsity_by_hand():
    # f = (2, 1) / 3, mean mass (2, 1): 2 experts * .3 * (4 + 1) / 3
    routing = priced([[3.0, 2.0], [1.0, 0.0]], 0.3)
    assert LOSSES["balanced_sparsity"](routing).item() == pytest.approx(1.0)


def test_balanced_sparsity_is_sparsity_at_balance():
    even = priced([[3.0, 0.0], [0.0, 3.0]], 0.3)
    found = [LOSSES[name](even).item() for name in ("sparsity", "balanced_sparsity")]
    assert found == pytest.approx([0.45 * 2, 0.45 * 2])


def test_drops_do_not_make_mass_cheaper():
    routing = priced([[3.0, 0.0], [1.0, 0.0]], 1.0)
    for name in ("sparsity", "balanced_sparsity"):
        assert LOSSES[name](routing.limit(1.0)).item() == LOSSES[name](routing).item()


def test_the_penalty_lowers_scores_above_zero_alone():
    x = X.clone().requires_grad_()
    LOSSES["sparsity"](identity_router(start=0.5)(Items(x))).backward()
    torch.testing.assert_close(x.grad, 0.5 / 3 * (X > 0))


def test_without_a_price_it_says_what_to_do():
    routing = routers.build("topk", 3, 3)(Items(X))
    for name in ("sparsity", "balanced_sparsity"):
        with pytest.raises(ConfigError, match=rf"losses\.{name}: .*router=relu"):
            LOSSES[name](routing)


def test_training_brings_the_number_of_active_experts_to_k_and_holds_it():
    """Against a teacher that has half of the experts active."""
    torch.manual_seed(0)
    router = routers.build("relu", 8, 8, k=2, alpha=1.05, start=1e-4).train()
    optimizer = torch.optim.Adam(router.parameters(), lr=0.01)
    # items off centre: on centred ones half of all scores are above zero, whatever the gate
    items, active = Items(torch.randn(256, 8) + 1), []
    teacher = (items.x @ torch.randn(8, 8)).relu()
    for _ in range(600):
        routing = router(items)
        error = (routing.logits.relu() - teacher).square().sum() / 256
        optimizer.zero_grad()
        (error + LOSSES["balanced_sparsity"](routing)).backward()
        optimizer.step()
        router.adapt_from_counts(routing.extras["counts"])
        active.append(routing.num_assignments / 256)
    assert active[0] > 3
    assert sum(active[-100:]) / 100 == pytest.approx(2, rel=0.1)


def test_several_gates_pay_each_its_own_price():
    torch.manual_seed(0)
    gates = [routers.build("relu", 4, 4, k=2, start=s) for s in (0.1, 0.2)]
    layer = experts.MultiGateMoE(gates, experts.build("mlp", 4, 4), experts.mmoe(4, tasks=2))
    x = torch.randn(1, 9, 4)
    _, routing = layer(x)
    alone = [gate(Items(x[0])) for gate in gates]
    for name in ("sparsity", "balanced_sparsity"):
        expected = sum(LOSSES[name](each) for each in alone)
        torch.testing.assert_close(LOSSES[name](routing), expected)
    layer.router.adapt_from_counts(torch.tensor([27, 9, 9, 9]))
    assert [gate.sparsity_coefficient.value.item() for gate in gates] == pytest.approx([0.12, 0.2])


@pytest.mark.parametrize(
    "options", [{"k": 0}, {"k": 3.5}, {"alpha": 1.0}, {"alpha": 11}, {"start": 0.0}, {"start": 1.0}]
)
def test_options_out_of_range(options):
    (name,) = options
    with pytest.raises(ConfigError, match=rf"router\.{name}="):
        routers.build("relu", 3, 3, **options)
