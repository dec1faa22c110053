"""Measures of routes against numbers computed by hand, slow loops, and scikit-learn."""

from itertools import permutations

import numpy as np
import pytest
import torch
from sklearn.metrics import mutual_info_score, normalized_mutual_info_score

import routers
from routers import ConfigError, Items, LayerMetrics, Routing
from routers.comparison import (
    Routes,
    changed,
    churn,
    coactivation,
    disagreement,
    overlap,
    pairing,
    saturation,
    sensitivity,
    specialization,
)


def draw(n, e, k, seed):
    """``k`` random experts of ``e`` for each of ``n`` items."""
    chosen = np.argsort(np.random.default_rng(seed).random((n, e)), 1)[:, :k]
    routes = np.zeros((n, e))
    np.put_along_axis(routes, chosen, 1, 1)
    return routes


def sets(routes):
    return [set(np.flatnonzero(row).tolist()) for row in routes]


# ---- churn and saturation ----


def test_churn_by_hand():
    before = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 0]])
    after = np.array([[1, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]])
    expected = [1 / 2, 1, 0, 2 / 3]
    np.testing.assert_allclose(changed(before, after), expected)
    np.testing.assert_allclose(changed(after, before), expected)
    assert churn(before, after) == pytest.approx(13 / 24)
    assert churn(before, before) == 0


def test_churn_of_other_numbers_of_items_is_refused():
    with pytest.raises(ConfigError, match="routes of 2 and of 3 items"):
        churn(np.ones((2, 2)), np.ones((3, 2)))


def test_saturation_by_the_formula():
    """2409.02060, section 5.1, for two experts per item."""
    checkpoints = [draw(50, 6, 2, seed) for seed in range(3)]
    last = sets(checkpoints[-1])
    by_hand = [
        sum(len(a & b) for a, b in zip(sets(each), last, strict=True)) / (50 * 2)
        for each in checkpoints
    ]
    assert saturation(checkpoints) == pytest.approx(by_hand)
    assert by_hand[-1] == 1


# ---- disagreement ----


def agreement_by_trying(one, other):
    """The best mean agreement over all ways to rename the experts."""
    pairs = list(zip(sets(one), sets(other), strict=True))
    return max(
        np.mean([len({names[e] for e in a} & b) / max(len(a), len(b), 1) for a, b in pairs])
        for names in permutations(range(other.shape[1]), one.shape[1])
    )


@pytest.mark.parametrize(("experts", "of_other"), [(4, 4), (3, 5)])
def test_the_matching_is_the_best_of_all(experts, of_other):
    one, other = draw(30, experts, 2, 0), draw(30, of_other, 2, 1)
    other[:5] = 0
    one[4:9, 0] = 1
    best = agreement_by_trying(one, other)
    both_empty = 0
    assert disagreement(one, other).share == pytest.approx(1 - best - both_empty)


def test_a_router_and_itself_do_not_disagree():
    one = draw(200, 8, 3, 0)
    one[:20, 3] = 1  # sizes differ
    renamed = one[:, np.random.default_rng(1).permutation(8)]
    for other in (one, renamed):
        found = disagreement(one, other)
        assert (found.share, found.agreement) == (0, 1)
    np.testing.assert_array_equal(renamed[:, disagreement(one, renamed).match], one)


@pytest.mark.parametrize(("experts", "k"), [(8, 1), (16, 4)])
def test_independent_random_routers_agree_by_chance_alone(experts, k):
    """Also with loads far from even, and although the matching was chosen for them."""
    one, other = draw(20_000, experts, k, 1), draw(20_000, experts, k, 2)
    skewed = one.copy()
    skewed[:9000] = skewed[0]
    for each in (one, skewed):
        found = disagreement(each, other)
        assert abs(found.agreement) < 0.01
        assert found.share > 0.5
    raw = 1 - disagreement(one[:300], other[:300]).share
    assert raw > k / experts + 0.02  # the matching finds more than chance: why it is corrected


def test_agreement_in_between():
    """Half of the items have the same expert, the others independent ones."""
    one, other = draw(20_000, 8, 1, 1), draw(20_000, 8, 1, 2)
    other[::2] = one[::2]
    assert disagreement(one, other).agreement == pytest.approx(0.5, abs=0.01)


def test_experts_without_a_match():
    found = disagreement(np.eye(3)[[0, 1, 2, 2]], np.eye(2)[[0, 0, 1, 1]])
    assert found.match == (0, -1, 1)
    assert found.share == pytest.approx(1 / 4)
    assert disagreement(np.ones((5, 1)), np.ones((5, 1))).agreement == 1


# ---- co-activation and overlap ----


def test_coactivation_and_overlap_by_hand():
    one = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 0, 0]])
    expected = [[1, 2 / 3, 1 / 3, 0], [1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(coactivation(one), expected)
    assert pairing(one) == pytest.approx((2 + 2 + 1 + 0) / 6)
    jaccard = [[1, 2 / 3, 1 / 3, 0], [2 / 3, 1, 0, 0], [1 / 3, 0, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(overlap(one, one), jaccard)


def test_the_metric_is_the_pairing_of_all_batches():
    torch.manual_seed(0)
    router = routers.build("topk", 8, 6, k=3)
    routings = [router(Items(torch.randn(20, 8), mask=torch.rand(20) > 0.3)) for _ in range(3)]
    metrics = LayerMetrics(6)
    for routing in routings:
        metrics.update(routing.limit(0.7))
    found = metrics.compute()["coactivation"]
    routes = Routes.of(*(routing.limit(0.7) for routing in routings))
    assert found == pytest.approx(pairing(routes.assigned))
    assert 0.4 < found < 0.9


def test_the_metric_of_one_expert_per_item_and_of_too_many_experts():
    expert, weight = torch.tensor([[0], [1]]), torch.ones(2, 1)
    for experts, expected in ((2, 0.0), (513, None)):
        metrics = LayerMetrics(experts)
        metrics.update(Routing.by_item(Items(weight), expert, weight, experts))
        assert metrics.compute()["coactivation"] == expected


# ---- specialization ----


def test_specialization_of_planted_routes_is_what_scikit_learn_has():
    random = np.random.default_rng(0)
    labels = random.integers(5, size=600)
    expert = np.where(random.random(600) < 0.7, labels % 4, random.integers(4, size=600))
    found = specialization(np.eye(4)[expert], labels)
    assert found.nmi == pytest.approx(normalized_mutual_info_score(expert, labels), abs=1e-12)
    assert found.bits == pytest.approx(mutual_info_score(expert, labels) / np.log(2), abs=1e-12)
    assert found.low < found.chance < found.high < found.nmi / 5
    assert found.p_value == pytest.approx(1 / 101)


def test_every_assignment_counts_once():
    routes, labels = draw(100, 6, 2, 0), np.arange(100) % 3
    item, expert = np.nonzero(routes)
    expected = normalized_mutual_info_score(expert, labels[item])
    assert specialization(routes, labels).nmi == pytest.approx(expected, abs=1e-12)


def test_routes_that_do_not_look_are_within_the_interval():
    within = 0
    for seed in range(40):
        labels = np.random.default_rng(seed).integers(4, size=200)
        found = specialization(draw(200, 6, 1, 100 + seed), labels, permutations=60)
        within += found.low <= found.nmi <= found.high
    assert 34 <= within <= 40  # of 95%


def test_labels_of_samples_are_permuted_among_samples():
    """Items of a sample share their expert: among items its label would look significant."""
    samples = np.repeat(np.arange(30), 16)
    expert = np.random.default_rng(0).integers(4, size=30)[samples]
    labels = np.random.default_rng(1).integers(3, size=30)[samples]
    wrong = specialization(np.eye(4)[expert], labels)
    right = specialization(np.eye(4)[expert], labels, samples=samples)
    assert right.nmi == wrong.nmi > wrong.high
    assert right.low < right.nmi < right.high
    with pytest.raises(ConfigError, match="labels differ within a sample"):
        specialization(np.eye(4)[expert], np.arange(480), samples=samples)


def test_nothing_to_know_is_zero():
    for routes, labels in ((np.ones((4, 1)), [0, 1, 0, 1]), (np.eye(2), ["a", "a"])):
        found = specialization(routes, labels)
        assert (found.nmi, found.bits, found.p_value) == (0, 0, 1)
    with pytest.raises(ConfigError, match=r"expected \(N=2,\)"):
        specialization(np.eye(2), [1, 2, 3])


# ---- sensitivity ----


def test_sensitivity_grows_with_the_noise():
    torch.manual_seed(0)
    items = Items(torch.randn(500, 8))
    router = routers.build("topk", 8, 16, k=2).eval()
    found = [sensitivity(router, items, scale) for scale in (0.0, 0.01, 0.1, 100.0)]
    assert found[0] == 0 < found[1] < found[2] < found[3]
    assert found[3] == pytest.approx(1 - 2 / 16, abs=0.1)  # unrelated routes share experts too


def test_only_the_noise_changes_the_routes_and_nothing_else():
    items, state = Items(torch.randn(50, 8)), torch.get_rng_state()
    assert sensitivity(routers.build("stochastic", 8, 4).eval(), items, 0.0) == 0
    torch.set_rng_state(state)
    by_content = routers.build("hash", 8, 4).eval()
    by_content(Items(items.x, ids=torch.arange(50)))
    assert sensitivity(by_content, Items(items.x, ids=torch.arange(50)), 10.0) == 0


def test_the_size_of_the_noise(monkeypatch):
    """Its root mean square is ``scale`` times that of each item."""
    seen = []

    def forward(items):
        seen.append(items.x)
        return routers.Routing.by_item(
            items, torch.zeros(len(items), 1, dtype=torch.long), torch.ones(len(items), 1), 2
        )

    router = routers.build("topk", 400, 2)
    monkeypatch.setattr(router, "forward", forward)
    x = torch.randn(3, 400) * torch.tensor([[1.0], [10.0], [0.0]])
    before = torch.get_rng_state()
    sensitivity(router, Items(x), 0.1)
    assert torch.equal(torch.get_rng_state(), before)
    rms = (seen[1] - seen[0]).square().mean(1).sqrt() / x.square().mean(1).sqrt().clamp_min(1e-9)
    torch.testing.assert_close(rms, torch.tensor([0.1, 0.1, 0.0]), rtol=0.15, atol=0)
