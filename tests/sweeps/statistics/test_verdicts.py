"""Verdicts: error rates and power of the complete procedure."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from sweeps import Objective
from sweeps.statistics import LEVEL, OPPOSITE, Verdicts, Word, compare_all

ACCURACY = Objective("score.value", "maximize")
LOSS = Objective("scores.loss", "minimize")
DRAWS = 1000

Sample = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


def normal(draw, shape):
    return draw.standard_normal(shape)


def skewed(draw, shape):
    """Occasional failures: minus a log-normal, skewness -3.7."""
    return -np.exp(0.8 * draw.standard_normal(shape))


def rounded(draw, shape):
    """Accuracy on so few samples that a seed moves it by a step or two."""
    return np.round(draw.standard_normal(shape))


def verdicts_on(
    scores: np.ndarray, margin: float = 0.0, objective: Objective = ACCURACY
) -> Verdicts:
    by_label = {str(arm): dict(enumerate(row)) for arm, row in enumerate(scores.tolist())}
    return compare_all(by_label, objective, margin)


def wrong(sample: Sample, seeds: int, deviations: list[float]) -> int:
    """Number of sweeps of equal arms that call any pair different."""
    draw = np.random.default_rng(seeds)
    scale = 0.01 * np.array(deviations)[:, None]
    shape = len(deviations), seeds
    sweeps = (verdicts_on(0.9 + scale * sample(draw, shape)) for _ in range(DRAWS))
    return sum(any(v.word in OPPOSITE for v in sweep.pairs.values()) for sweep in sweeps)


#: Quantile 0.999 of the number of wrong sweeps at a level of 5 %.
MAX_WRONG = stats.binom.ppf(0.999, DRAWS, LEVEL)


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("sample", [normal, skewed, rounded])
@pytest.mark.parametrize("arms", [2, 4])
def test_level_holds_where_no_arm_differs(sample, seeds, arms):
    assert wrong(sample, seeds, [1.0] * arms) <= MAX_WRONG


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("deviations", [[3.0, 1.0, 1.0], [3.0, 3.0, 1.0, 1.0]])
def test_level_holds_where_some_arms_vary_more(seeds, deviations):
    assert wrong(normal, seeds, deviations) <= MAX_WRONG


@pytest.mark.parametrize("seeds", [3, 5])
def test_arms_that_share_their_seeds_luck(seeds):
    """Seeds that move all arms alike change nothing."""
    draw = np.random.default_rng(0)
    own = 0.9 + 0.01 * draw.standard_normal((4, seeds))
    luck = 0.1 * draw.standard_normal(seeds)
    for names, verdict in verdicts_on(own).pairs.items():
        assert verdicts_on(own + luck).pairs[names].p == pytest.approx(verdict.p)


def found(gap: float, seeds: int, arms: int) -> float:
    """How often the last arm, worse by ``gap`` deviations, is found worse than the first."""
    draw = np.random.default_rng(1)
    fall = np.zeros((arms, 1))
    fall[-1] = gap
    sweeps = (verdicts_on(draw.standard_normal((arms, seeds)) - fall) for _ in range(200))
    return float(np.mean([s.of("0", str(arms - 1)).word == Word.BETTER for s in sweeps]))


@pytest.mark.parametrize(("gap", "seeds", "arms"), [(8, 3, 10), (5, 5, 2), (3.5, 5, 6), (2, 10, 4)])
def test_large_differences_are_found(gap, seeds, arms):
    assert found(gap, seeds, arms) > 0.8


def test_equal_arms_are_equivalent_given_margin_and_seeds():
    draw = np.random.default_rng(0)
    words = verdicts_on(0.9 + 0.001 * draw.standard_normal((3, 8)), margin=0.01).pairs.values()
    assert {verdict.word for verdict in words} == {Word.EQUIVALENT}


def test_arms_as_far_apart_as_the_margin_are_seldom_equivalent():
    draw = np.random.default_rng(0)
    far = np.array([[0.0], [0.01]])
    alike = sum(
        verdicts_on(far + 0.002 * draw.standard_normal((2, 5)), 0.01).of("0", "1").word
        == Word.EQUIVALENT
        for _ in range(DRAWS)
    )
    assert alike <= MAX_WRONG


def test_a_certain_difference_within_the_margin_is_equivalent():
    x = np.array([0.900, 0.910, 0.905, 0.902])
    y = x - np.array([0.001, 0.0011, 0.0009, 0.001])
    assert verdicts_on(np.stack([x, y]), margin=0.01).of("0", "1").word == Word.EQUIVALENT
    assert verdicts_on(np.stack([x, y]), margin=0.0).of("0", "1").word == Word.BETTER


def test_the_same_runs_twice_are_not_different():
    runs = np.tile([0.91, 0.93, 0.92, 0.94, 0.92], (2, 1))
    verdict = verdicts_on(runs, margin=0.0).of("0", "1")
    assert (verdict.word, verdict.p) == (Word.UNCLEAR, 1.0)
    assert verdicts_on(runs, margin=0.01).of("0", "1").word == Word.EQUIVALENT


def test_direction():
    scores = np.array([[0.9, 0.91, 0.9, 0.92, 0.91], [0.5, 0.51, 0.52, 0.49, 0.5]])
    assert verdicts_on(scores).of("0", "1").word == Word.BETTER
    assert verdicts_on(scores).of("1", "0").word == Word.WORSE
    assert verdicts_on(scores, objective=LOSS).of("0", "1").word == Word.WORSE
    assert verdicts_on(scores, objective=LOSS).of("1", "0").word == Word.BETTER
    for objective in (ACCURACY, LOSS):  # in units of the score, whichever way is better
        pair = verdicts_on(scores, objective=objective).of("0", "1").pair
        assert pair is not None
        assert pair.difference == pytest.approx(0.404)


@pytest.mark.parametrize("seeds", [0, 1, 2])
def test_too_few_seeds_reach_no_verdict(seeds):
    verdicts = verdicts_on(np.array([[0.5], [0.9]]) * np.ones(seeds))
    assert verdicts.of("0", "1").word == Word.TOO_FEW
    assert verdicts.seeds == ()


def test_arms_are_compared_on_seeds_that_all_have():
    one = {1: 0.9, 2: 0.91, 3: 0.92, 4: 0.0}
    other = {3: 0.52, 2: 0.5, 1: 0.51, 9: 1.0}
    verdicts = compare_all({"x": one, "y": other}, ACCURACY, 0.0)
    assert verdicts.seeds == (1, 2, 3)
    pair = verdicts.of("x", "y").pair
    assert pair is not None
    assert pair.differences == pytest.approx((0.39, 0.41, 0.40))


def test_groups_say_what_the_verdicts_say():
    scores = np.array([[0.90, 0.91, 0.92], [0.901, 0.909, 0.922], [0.5, 0.51, 0.49]])
    verdicts = verdicts_on(scores)
    assert verdicts.groups == {"0": "a", "1": "a", "2": "b"}


def test_one_arm_and_none():
    assert verdicts_on(np.array([[0.9, 0.8, 0.7]])).groups == {"0": "a"}
    assert compare_all({}, ACCURACY, 0.01).pairs == {}


def test_seeds_needed_are_for_the_correction_of_this_sweep():
    draw = np.random.default_rng(2)
    two = draw.standard_normal((2, 5)) + np.array([[1.0], [0.0]])
    many = np.concatenate([two, draw.standard_normal((6, 5))])
    alone, among = verdicts_on(two).of("0", "1"), verdicts_on(many).of("0", "1")
    assert alone.level == LEVEL
    assert among.level == pytest.approx(LEVEL / 28)
    assert alone.seeds_needed is not None
    assert alone.seeds_needed >= 3
