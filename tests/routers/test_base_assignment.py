"""BASE: assignments compared with all possible ones, SciPy's and greedy ones."""

from itertools import product

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

import routers
from routers import Items
from routers.base_assignment import auction, balanced_assignment


def total(scores: np.ndarray, expert: np.ndarray) -> float:
    return float(scores[np.arange(len(scores)), expert].sum())


def optimum(scores: np.ndarray) -> float:
    """Of square costs: each expert once for every place it has, and items that do not exist."""
    n, e = scores.shape
    places = -(-n // e)
    costs = np.zeros((places * e, places * e))
    for seat in range(places * e):
        costs[:n, seat] = -scores[:, seat % e]
    return -float(costs[linear_sum_assignment(costs)].sum())


def score_sets(n: int, e: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "normal": rng.normal(size=(n, e)),
        "one that all want": rng.normal(size=(n, e)) + np.linspace(0, 5, e),
        "products of vectors": rng.normal(size=(n, 8)) @ rng.normal(size=(8, e)),
        "four kinds of items": rng.normal(size=(4, e))[rng.integers(0, 4, n)]
        + 0.01 * rng.normal(size=(n, e)),
        "equal items": np.repeat(rng.normal(size=(1, e)), n, 0),
        "huge": 1e4 * rng.normal(size=(n, e)),
        "two that all want": 1e4 * np.eye(e)[rng.integers(0, 2, n)],
    }


KINDS = list(score_sets(4, 4))


@pytest.mark.parametrize("n", [1, 4, 5, 6])
def test_best_of_all_assignments(n):
    scores = np.random.default_rng(n).normal(size=(n, 3))
    places = -(-n // 3)
    best = max(
        total(scores, np.array(expert))
        for expert in product(range(3), repeat=n)
        if np.bincount(expert, minlength=3).max() <= places
    )
    found = balanced_assignment(torch.from_numpy(scores)).numpy()
    assert np.bincount(found, minlength=3).max() <= places
    assert total(scores, found) == pytest.approx(best, rel=1e-12)
    nearly = auction(scores, places)
    assert np.bincount(nearly, minlength=3).max() <= places
    assert total(scores, nearly) == pytest.approx(best, rel=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_scipys_optimum_on_256_by_16(kind):
    scores = score_sets(256, 16)[kind]
    found = balanced_assignment(torch.from_numpy(scores)).numpy()
    assert np.bincount(found, minlength=16).tolist() == [16] * 16
    assert total(scores, found) == pytest.approx(optimum(scores), rel=1e-9)


@pytest.mark.parametrize("n", [250, 256, 1024])
@pytest.mark.parametrize("kind", KINDS)
def test_the_auction_stays_within_a_percent(kind, n):
    """A percent of what the optimum gains over each item's mean score: offsets count nothing."""
    scores = score_sets(n, 16)[kind]
    places = -(-n // 16)
    found = auction(scores, places)
    assert np.bincount(found, minlength=16).max() <= places
    mean = scores.mean(1).sum()
    best = optimum(scores)
    gain = max(best - mean, (scores.max(1) - scores.mean(1)).sum())
    assert best - total(scores, found) <= 0.01 * gain
    assert best - total(scores, found) <= 0.01 * abs(best) + 1e-9


def test_the_auction_ends_where_all_is_one():
    for scores in (np.zeros((64, 8)), np.full((64, 8), 1e4), np.zeros((64, 1)), np.zeros((0, 3))):
        found = auction(scores, -(-len(scores) // scores.shape[1]))
        assert np.bincount(found, minlength=1).max(initial=0) <= max(1, 64 // scores.shape[1])


def test_the_auction_ends_where_scores_are_sixteen_digits_apart():
    scores = np.repeat(np.array([[1e16, 1e16, 0.0, 1.0]]), 40, 0)
    assert np.bincount(auction(scores, 10)).tolist() == [10] * 4


@pytest.mark.parametrize("n", [64, 300])
def test_training_is_even_in_each_group_and_eval_is_greedy(n):
    torch.manual_seed(0)
    router = routers.build("base_assignment", 6, 4)
    x = torch.randn(2 * n, 6) + 1
    items = Items(x, groups=2)
    routing = router.train()(items)
    for group in (0, 1):
        load = torch.bincount(routing.expert[group * n : group * n + n], minlength=4)
        assert load.tolist() == [n // 4] * 4
    greedy = router.eval()(items)
    assert greedy.expert.tolist() == greedy.logits.argmax(1).tolist()
    assert greedy.load.max() > n // 2
    for each in (routing, greedy):
        chosen = each.logits.gather(1, each.expert.unsqueeze(1)).squeeze(1)
        torch.testing.assert_close(each.weight, chosen.sigmoid())


def test_padding_takes_no_place():
    torch.manual_seed(0)
    router = routers.build("base_assignment", 5, 4).train()
    mask = torch.arange(12) % 3 > 0
    routing = router(Items(torch.randn(12, 5), mask=mask))
    assert routing.load.tolist() == [2] * 4


def test_scores_that_are_no_numbers_are_left_to_others_to_report():
    scores = torch.full((8, 2), torch.nan)
    assert torch.bincount(balanced_assignment(scores)).tolist() == [4, 4]
    assert torch.bincount(balanced_assignment(scores.repeat(50, 1))).tolist() == [200, 200]
