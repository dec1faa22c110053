"""Each statistic, compared with SciPy's functions and with numbers computed by hand."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sweeps.statistics import holm, mean_interval
from sweeps.statistics.intervals import bootstrap_interval, interquartile_mean, student_interval
from sweeps.statistics.multiple_testing import compact_letter_display
from sweeps.statistics.paired_tests import (
    Pair,
    VariancePrior,
    compare,
    estimate_prior,
    inverse_trigamma,
    p_different,
    p_equivalent,
    probability_of_improvement,
    seeds_needed,
    sign_flip,
    t_test_power,
)

NO_PRIOR = VariancePrior(0.0, 0.0)
P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def scores(arms: int, seeds: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.9, 0.01, (arms, seeds))


class TestIntervals:
    @pytest.mark.parametrize("n", [2, 3, 5, 10])
    def test_student_agrees_with_scipy(self, n):
        x = scores(1, n)[0]
        expected = stats.ttest_1samp(x, 0).confidence_interval(0.9)
        found = student_interval(x, 0.9)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high))

    def test_student_by_hand(self):
        # mean 2, s = 1, t(0.975, 2) = 4.302653: 2 -+ 4.302653 / sqrt(3)
        found = student_interval([1.0, 2.0, 3.0])
        assert found.low == pytest.approx(2 - 4.302653 / math.sqrt(3), abs=1e-6)
        assert found.high == pytest.approx(2 + 4.302653 / math.sqrt(3), abs=1e-6)

    @pytest.mark.parametrize("interval", [student_interval, bootstrap_interval, mean_interval])
    def test_one_value_or_none_has_no_known_interval(self, interval):
        assert math.isnan(interval([0.9]).low)
        assert math.isnan(interval([]).high)

    @pytest.mark.parametrize("n", [2, 3, 25])
    @pytest.mark.parametrize("interval", [student_interval, bootstrap_interval, mean_interval])
    def test_identical_values_have_an_interval_without_width(self, interval, n):
        found = interval([0.875] * n)
        assert (found.low, found.high) == (0.875, 0.875)

    def test_bootstrap_of_two_is_their_range(self):
        found = bootstrap_interval([2.0, 1.0])
        assert (found.low, found.high) == (1.0, 2.0)

    def test_bootstrap_is_within_the_values_and_the_same_each_time(self):
        x = scores(1, 8)[0]
        found = bootstrap_interval(x)
        assert x.min() <= found.low < x.mean() < found.high <= x.max()
        assert bootstrap_interval(x) == found

    def test_bootstrap_of_many_values_agrees_with_student(self):
        x = scores(1, 200)[0]
        one, other = bootstrap_interval(x), student_interval(x)
        assert one.low == pytest.approx(other.low, abs=0.05 * other.width)
        assert one.high == pytest.approx(other.high, abs=0.05 * other.width)

    def test_few_values_get_students_interval_and_many_the_bootstrap(self):
        few, many = scores(1, 19)[0], scores(1, 20)[0]
        assert mean_interval(few) == student_interval(few)
        assert mean_interval(many) == bootstrap_interval(many)

    def test_interquartile_mean(self):
        assert interquartile_mean([5.0, 1.0, 2.0, 100.0]) == 3.5  # 1 and 100 are left out
        assert interquartile_mean([1.0, 2.0, 6.0]) == 3.0  # nothing is
        assert math.isnan(interquartile_mean([]))


class TestPairs:
    @pytest.mark.parametrize("n", [2, 3, 5, 10])
    def test_two_arms_get_the_paired_t_test(self, n):
        x, y = scores(2, n)
        expected = stats.ttest_rel(x, y).pvalue
        assert p_different(compare(x, y, estimate_prior(np.stack([x, y])))) == pytest.approx(
            expected
        )

    def test_paired_t_by_hand(self):
        # differences 1, 2, 3: mean 2, s = 1, t = 2 sqrt(3); with 2 degrees P(|T| > t) is
        # 1 - t / sqrt(t² + 2) = 1 - sqrt(12 / 14)
        pair = compare(np.array([2.0, 4.0, 6.0]), np.array([1.0, 2.0, 3.0]), NO_PRIOR)
        assert p_different(pair) == pytest.approx(1 - math.sqrt(12 / 14))

    def test_variance_is_drawn_to_what_all_share(self):
        # own variance 1 on 2 degrees, shared 4 on 6: (2 * 1 + 6 * 4) / 8
        pair = compare(
            np.array([2.0, 4.0, 6.0]), np.array([1.0, 2.0, 3.0]), VariancePrior(4.0, 6.0)
        )
        assert (pair.variance, pair.degrees, pair.prior) == (pytest.approx(3.25), 8.0, 6.0)

    def test_equal_differences_are_left_to_the_sign_flip_test(self):
        x = np.array([0.91, 0.95, 0.93])
        assert p_different(compare(x + 0.01, x, NO_PRIOR)) == 0.25
        assert p_different(compare(x, x, NO_PRIOR)) == 1.0

    @pytest.mark.parametrize("n", [3, 6, 10])
    def test_sign_flip_counts_flips(self, n):
        differences = scores(1, n)[0] - 0.895
        signs = np.array(np.meshgrid(*[[-1, 1]] * n)).reshape(n, -1)
        means = np.abs(differences @ signs)
        expected = np.mean(means >= abs(differences.sum()) * (1 - 1e-12))
        assert sign_flip(differences) == pytest.approx(expected)

    @pytest.mark.parametrize(("n", "least"), [(3, 1 / 4), (5, 1 / 16), (6, 1 / 32)])
    def test_least_p_of_sign_flip(self, n, least):
        assert sign_flip(np.arange(1.0, n + 1)) == pytest.approx(least)

    def test_equivalence_agrees_with_two_one_sided_t_tests(self):
        x, y = scores(2, 6)
        below = stats.ttest_rel(x, y - 0.02, alternative="greater").pvalue
        above = stats.ttest_rel(x, y + 0.02, alternative="less").pvalue
        assert p_equivalent(compare(x, y, NO_PRIOR), 0.02) == pytest.approx(max(below, above))

    def test_without_spread_equivalence_takes_seeds(self):
        assert p_equivalent(Pair((0.001,) * 5, 0.0, 4.0), 0.01) == 0.5**5
        assert p_equivalent(Pair((0.02,) * 5, 0.0, 4.0), 0.01) == 1.0

    def test_probability_of_improvement_counts_pairs_of_runs(self):
        x, y = [3.0, 1.0, 2.0], [2.0, 0.0, 2.0, 5.0]
        wins = np.mean([(a > b) + (a == b) / 2 for a in x for b in y])
        assert probability_of_improvement(x, y) == pytest.approx(wins)
        assert probability_of_improvement([1.0], [1.0]) == 0.5
        assert math.isnan(probability_of_improvement([], [1.0]))


class TestVariancePrior:
    def test_pooled_variance_is_that_of_a_blocked_design(self):
        x = scores(4, 5)
        left = x - x.mean(1, keepdims=True) - x.mean(0, keepdims=True) + x.mean()
        assert estimate_prior(x).variance == pytest.approx(2 * (left**2).sum() / (3 * 4))

    def test_what_a_seed_adds_to_all_arms_does_not_count(self):
        x = scores(4, 5)
        shifted = estimate_prior(x + np.array([0.3, -0.1, 0.0, 0.2, 0.5]))
        assert shifted.variance == pytest.approx(estimate_prior(x).variance)

    def test_alike_arms_lend_more_than_unlike_ones(self):
        x = scores(8, 10) - 0.9
        unlike = x * np.array([0.01, 0.1, 1, 10, 0.01, 0.1, 1, 10])[:, None]
        assert estimate_prior(unlike).degrees < 3 < estimate_prior(x).degrees

    def test_no_more_is_lent_than_half_of_what_the_others_have(self):
        assert estimate_prior(scores(6, 5)).degrees <= 4 * 4 / 2

    def test_arms_that_never_vary_lend_nothing(self):
        assert estimate_prior(np.array([[1.0] * 3, [2.0] * 3, [5.0] * 3])) == NO_PRIOR

    def test_one_arm_that_never_varies_is_no_error(self):
        x = scores(4, 5)
        x[0] = x[1:].mean(0)
        assert math.isfinite(estimate_prior(x).degrees)

    @pytest.mark.parametrize("x", [1e-3, 0.5, 1.0, 7.0, 1e4])
    def test_inverse_trigamma(self, x):
        value = float(stats.loggamma(x).var())  # the variance of log-gamma is its trigamma
        assert inverse_trigamma(value) == pytest.approx(x, rel=1e-6)


class TestPower:
    def test_agrees_with_simulation(self):
        draws = np.random.default_rng(0).normal(0.8, 1.0, (20_000, 8))
        found = (stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05).mean()
        assert t_test_power(0.8, 1.0, 8, 0.05) == pytest.approx(found, abs=0.01)

    def test_what_other_arms_lend_is_worth_seeds(self):
        # 3 seeds and 98 degrees lent: noncentral t with 100, all but normal beyond 1.98
        expected = NormalDist().cdf(2.5 * math.sqrt(3) - 1.984)
        assert t_test_power(2.5, 1.0, 3, 0.05, prior=98) == pytest.approx(expected, abs=0.005)
        assert t_test_power(2.5, 1.0, 3, 0.05) < 0.75

    @pytest.mark.parametrize("gap", [0.5, 1.0, 3.0])
    @pytest.mark.parametrize("level", [0.05, 0.05 / 45])
    def test_seeds_needed_are_the_fewest_that_do(self, gap, level):
        n = seeds_needed(Pair((gap,) * 3, 1.0, 2.0), level)
        assert n is not None
        assert t_test_power(gap, 1.0, n, level) >= 0.8 > t_test_power(gap, 1.0, n - 1, level)

    def test_large_samples_follow_the_normal_rule(self):
        # (1.96 + 0.84)² / gap²
        z = NormalDist().inv_cdf(0.975) + NormalDist().inv_cdf(0.8)
        assert seeds_needed(Pair((0.1,) * 3, 1.0, 2.0), 0.05) == pytest.approx(
            (z / 0.1) ** 2, abs=3
        )

    def test_no_difference_takes_no_number_of_seeds(self):
        assert seeds_needed(Pair((1.0, -1.0, 0.0), 1.0, 2.0), 0.05) is None
        assert seeds_needed(Pair((1e-6,) * 3, 1.0, 2.0), 0.05) is None

    def test_equal_differences_take_as_many_as_the_sign_flip_test(self):
        assert seeds_needed(Pair((0.01,) * 3, 0.0, 2.0), 0.05) == 6  # 2 / 2⁶ < 0.05


class TestHolm:
    def test_by_hand(self):
        # 4 * .005, then 3 * .01, 2 * .03 and .04, which may not fall below .06
        assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])

    @given(P_VALUES)
    def test_order_is_kept_and_no_p_shrinks(self, p):
        adjusted = holm(p)
        by_p = [a for _, a in sorted(zip(p, adjusted, strict=True))]
        assert by_p == sorted(by_p)
        assert all(p_i <= a <= 1 for p_i, a in zip(p, adjusted, strict=True))

    @given(P_VALUES)
    def test_between_none_and_bonferroni(self, p):
        adjusted = holm(p)
        assert all(a <= min(1, len(p) * p_i) for p_i, a in zip(p, adjusted, strict=True))
        assert min(adjusted) == min(1.0, len(p) * min(p))

    def test_nan_is_refused(self):
        with pytest.raises(ValueError, match="NaN"):
            holm([0.1, math.nan])


class TestCompactLetterDisplay:
    def test_by_hand(self):
        # a and c differ, b differs from neither; d differs from all
        apart = [("a", "c"), ("a", "d"), ("d", "b"), ("c", "d")]
        assert compact_letter_display(["a", "b", "c", "d"], apart) == {
            "a": "a",
            "b": "ab",
            "c": "b",
            "d": "c",
        }

    @given(st.integers(0, 2**21 - 1))
    def test_arms_share_a_letter_if_and_only_if_they_are_not_apart(self, mask):
        arms = "abcdefg"
        pairs = [(x, y) for i, x in enumerate(arms) for y in arms[:i]]
        apart = {pair for bit, pair in enumerate(pairs) if mask >> bit & 1}
        found = compact_letter_display(arms, apart)
        for x, y in pairs:
            assert bool(set(found[x]) & set(found[y])) == ((x, y) not in apart)

    def test_none(self):
        assert compact_letter_display([], []) == {}
