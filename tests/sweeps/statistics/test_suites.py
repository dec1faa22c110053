"""Suites: complete results, normalized scores, aggregates, ranks, verdicts and speed-up."""

import math

import numpy as np
import pytest
from scipy import stats

from sweeps import Objective
from sweeps.statistics import (
    Block,
    NormalizedScores,
    SeedPlan,
    Word,
    aggregate_improvement,
    aggregate_iqm,
    compare_all,
    compare_suite,
    complete_scores,
    critical_difference,
    effective_speedup,
    normalize,
    performance_profile,
)
from sweeps.statistics.aggregates import weighted_iqm
from sweeps.statistics.paired_tests import Pair
from sweeps.statistics.suite_verdicts import pool

ACCURACY = Objective("score.value", "maximize")
LOSS = Objective("scores.loss", "minimize")


def runs(*values: float) -> dict[int, float]:
    return dict(enumerate(values))


def suite(draw: np.random.Generator, levels: dict[str, float], benchmarks: int = 3, seeds: int = 5):
    """Accuracies around the levels of arms, with noise of 0.01."""
    return {
        f"b{number}": {
            arm: runs(*(level + 0.01 * draw.standard_normal(seeds)))
            for arm, level in levels.items()
        }
        for number in range(benchmarks)
    }


def directions(scores) -> dict[str, Objective]:
    return dict.fromkeys(scores, ACCURACY)


def normalized(seed: int = 0, **kwargs) -> NormalizedScores:
    levels = {"fixed": 0.5, "dense": 0.9, "topk": 0.7, "hash": 0.6}
    scores = suite(np.random.default_rng(seed), levels, **kwargs)
    return normalize(scores, directions(scores), "fixed", "dense")


class TestCompleteScores:
    def test_every_gap_has_its_reason(self):
        scores = {
            "images": {"x": runs(0.9, 0.8), "y": runs(0.7), "z": runs(0.5, math.nan)},
            "text": {"x": runs(0.5, 0.6, 0.7), "y": runs(0.5, 0.6)},
        }
        needs_tasks = {("task_gate", "images"): "needs tasks"}
        found = complete_scores(scores, {"images": [0, 1], "text": [0, 1]}, needs_tasks)
        assert found.arms == ("x",)
        assert found.gaps == {
            ("y", "images"): "seeds 1 are missing",
            ("z", "images"): "scores of seeds 1 are not finite",
            ("task_gate", "images"): "needs tasks",
            ("z", "text"): "no runs",
            ("task_gate", "text"): "no runs",
        }
        assert found.scores["text"] == {"x": runs(0.5, 0.6), "y": runs(0.5, 0.6)}


class TestNormalize:
    def test_by_hand_for_either_direction(self):
        low, high = runs(0.49, 0.50, 0.51), runs(0.91, 0.90, 0.89)
        scores = {"up": {"zero": low, "one": high}, "down": {"zero": high, "one": low}}
        found = normalize(scores, {"up": ACCURACY, "down": LOSS}, "zero", "one")
        for name in scores:  # (0.49 - 0.50) / 0.4, and (0.91 - 0.90) / -0.4
            assert found.scores[name]["zero"] == pytest.approx(runs(-0.025, 0.0, 0.025))
            assert found.scores[name]["one"] == pytest.approx(runs(1.025, 1.0, 0.975))
        assert found.scales == pytest.approx({"up": 0.4, "down": 0.4})

    def test_the_best_arm_replaces_a_control_within_noise(self):
        levels = {"fixed": 0.5, "dense": 0.5, "topk": 0.9}
        scores = suite(np.random.default_rng(1), levels)
        found = normalize(scores, directions(scores), "fixed", "dense")
        assert {each.one for each in found.anchors.values()} == {"topk"}

    def test_a_benchmark_without_differences_is_left_out_with_a_reason(self):
        scores = suite(np.random.default_rng(1), {"fixed": 0.5, "dense": 0.5, "topk": 0.5})
        scores["lacks"] = {"dense": runs(0.5, 0.6, 0.7)}
        found = normalize(scores, directions(scores), "fixed", "dense")
        assert not found.anchors
        assert found.left_out["b0"] == "no arm exceeds fixed by more than noise"
        assert found.left_out["lacks"] == "it has no results of fixed"
        assert aggregate_iqm(found) == {}

    def test_anchors_are_resampled_with_the_arms(self):
        """An anchor's mean is 0 or 1 in each sample; a copy of an anchor's runs moves with it."""
        found = normalized()
        raw = {**found.raw, "b0": {**found.raw["b0"], "copy": found.raw["b0"]["dense"]}}
        drawn = NormalizedScores(raw, found.anchors, {}).resampled(50, np.random.default_rng(0))
        for name, mean in {"fixed": 0.0, "dense": 1.0, "copy": 1.0}.items():
            assert drawn["b0"][name].mean(1) == pytest.approx(np.full(50, mean), abs=1e-9)
        assert drawn["b0"]["topk"].mean(1).std() > 0


class TestAggregates:
    def test_iqm_by_hand(self):
        values, equal = np.array([[8.0, 1, 2, 3, 4, 5, 6, 7]]), np.full(8, 1 / 8)
        assert weighted_iqm(values, equal).tolist() == [4.5]  # 1, 2, 7 and 8 are left out
        # one benchmark with 2 runs, one with 4: as if each run of the first were there twice
        uneven = weighted_iqm(np.array([[0.0, 9, 1, 2, 3, 4]]), np.repeat([1 / 4, 1 / 8], [2, 4]))
        # a sixth of the weight goes at either end: 1/12 of 0 and of 9 is left
        assert uneven == pytest.approx((0 + 9 / 12 + (1 + 2 + 3 + 4) / 8) / (2 / 3))

    def test_intervals_hold_the_values_and_repeat(self):
        found = aggregate_iqm(normalized())
        for each in found.values():
            assert each.interval.low <= each.value <= each.interval.high
            assert each.complete
        assert found["topk"].value == pytest.approx(0.5, abs=0.03)
        assert found == aggregate_iqm(normalized())

    def test_intervals_cover(self):
        """Nominal 95 %, about 91 % with 5 seeds, of the truth 0.5."""
        found = [aggregate_iqm(normalized(seed))["topk"].interval for seed in range(60)]
        covered = sum(each.low <= 0.5 <= each.high for each in found)
        assert stats.binom.ppf(0.001, 60, 0.85) <= covered

    def test_an_arm_with_a_gap_is_marked(self):
        found = normalized()
        raw = {**found.raw, "b0": {a: r for a, r in found.raw["b0"].items() if a != "hash"}}
        partial = NormalizedScores(raw, found.anchors, {})
        iqm, profile = aggregate_iqm(partial), performance_profile(partial, [0.0, 0.5])
        assert (iqm["hash"].benchmarks, iqm["hash"].complete) == (("b1", "b2"), False)
        assert (profile["hash"].complete, iqm["topk"].complete) == (False, True)
        improvement = aggregate_improvement(raw, directions(raw), "hash", "topk")
        assert (improvement.benchmarks, improvement.complete) == (("b1", "b2"), False)

    def test_improvement_by_hand(self):
        scores = {
            "up": {"x": runs(3, 1, 2), "y": runs(2, 0, 5)},  # 2 < 3; 0 < 1, 2, 3; 2 = 2
            "down": {"x": runs(1, 1, 1), "y": runs(2, 2, 2)},
        }
        found = aggregate_improvement(scores, {"up": ACCURACY, "down": LOSS}, "x", "y")
        assert found.value == pytest.approx((4.5 / 9 + 1) / 2)
        assert found.interval.low <= found.value <= found.interval.high
        nothing = aggregate_improvement(scores, {}, "x", "absent")
        assert (math.isnan(nothing.value), nothing.benchmarks) == (True, ())

    def test_profile_falls_from_one_to_zero(self):
        found = performance_profile(normalized(), [-9.0, 0.0, 0.5, 1.0, 9.0])["topk"]
        assert (found.share[0], found.share[-1]) == pytest.approx((1.0, 0.0))
        assert list(found.share) == sorted(found.share, reverse=True)
        middle = found.band[2]  # some runs of an arm at 0.5 are above 0.5
        assert 0.0 <= middle.low < found.share[2] < middle.high < 1.0
        assert (found.band[0].width, found.band[-1].width) == pytest.approx((0.0, 0.0))


class TestCriticalDifference:
    def test_ranks_and_cliques_by_hand(self):
        draw = np.random.default_rng(0)
        scores = suite(draw, {"bad": 0.1, "good": 0.9, "twin": 0.9}, benchmarks=3)
        found = critical_difference(scores, directions(scores))
        assert found.ranks["bad"] == 3.0
        assert found.ranks["good"] + found.ranks["twin"] == pytest.approx(3.0)
        assert [set(each) for each in found.cliques] == [{"good", "twin"}]
        assert (found.block, found.blocks) == (Block.RUN, 15)
        # 15 blocks of one sign: 2 / 2**15, times 3 and 2 by Holm
        assert found.p["bad", "good"] == pytest.approx(3 * 2 / 2**15)

    def test_blocks_are_benchmarks_from_ten(self):
        scores = suite(np.random.default_rng(0), {"x": 0.5, "y": 0.5, "z": 0.5}, benchmarks=10)
        found = critical_difference(scores, directions(scores))
        assert (found.block, found.blocks) == (Block.BENCHMARK, 10)

    def test_units_of_a_benchmark_do_not_matter(self):
        scores = suite(np.random.default_rng(3), {"x": 0.5, "y": 0.51, "z": 0.5})
        scaled = {
            name: {a: {s: -(10.0**i) * v for s, v in r.items()} for a, r in arms.items()}
            for i, (name, arms) in enumerate(scores.items())
        }
        ours = critical_difference(scores, directions(scores))
        theirs = critical_difference(scaled, dict.fromkeys(scores, LOSS))
        assert ours.p == pytest.approx(theirs.p)

    def test_equal_arms_and_too_few(self):
        same = {"b": {"x": runs(1, 2, 3), "y": runs(1, 2, 3), "z": runs(1, 2, 3)}}
        found = critical_difference(same, directions(same))
        assert (found.friedman, found.cliques) == (1.0, (("x", "y", "z"),))
        assert critical_difference({"b": {"x": runs(1, 2)}}, directions(same)) is None
        assert critical_difference({}, {}) is None

    def test_equal_arms_are_seldom_told_apart(self):
        wrong = 0
        for seed in range(200):
            scores = suite(np.random.default_rng(seed), dict.fromkeys("wxyz", 0.5))
            wrong += len(critical_difference(scores, directions(scores)).cliques[0]) < 4
        assert wrong <= stats.binom.ppf(0.999, 200, 0.05)


class TestCompareSuite:
    PLAN = SeedPlan.fixed(5)

    def compare(self, scores, margin=0.0, scale=0.1, plan=PLAN):
        margins, scales = dict.fromkeys(scores, margin), dict.fromkeys(scores, scale)
        return compare_suite(scores, directions(scores), margins, scales, plan)

    def test_pool_by_hand(self):
        one, other = Pair((1.0, 3.0), 4.0, 2.0), Pair((0.0, 2.0), 1.0, 8.0)
        found = pool([one, other])
        assert found.differences == (0.5, 2.5)
        assert found.variance == pytest.approx(5 / 4)  # (4 + 1) / 2²
        assert found.degrees == pytest.approx(25 / (16 / 2 + 1 / 8))
        assert found.standard_error == pytest.approx(math.sqrt(4 / 2 + 1 / 2) / 2)

    def test_one_benchmark_is_what_compare_all_says(self):
        scores = suite(np.random.default_rng(0), {"x": 0.5, "y": 0.52, "z": 0.51}, benchmarks=1)
        found, alone = self.compare(scores, 0.01), compare_all(scores["b0"], ACCURACY, 0.01)
        for names, verdict in alone.pairs.items():
            each = found.suite.verdicts.pairs[names]
            assert each.word == verdict.word == found.strict["b0"][names]
            assert (each.p, each.p_equivalent) == pytest.approx((verdict.p, verdict.p_equivalent))
            assert each.pair.difference == pytest.approx(verdict.pair.difference / 0.1)
        assert found.suite.verdicts.groups == alone.groups

    def test_directions_and_scales(self):
        scores = suite(np.random.default_rng(0), {"x": 0.5, "y": 0.6}, benchmarks=2)
        scores["b1"] = {a: {s: -10 * v for s, v in r.items()} for a, r in scores["b1"].items()}
        objectives = {"b0": ACCURACY, "b1": LOSS}
        margins, scales = {"b0": 0.0, "b1": 0.0}, {"b0": 0.1, "b1": 1.0}
        found = compare_suite(scores, objectives, margins, scales, self.PLAN)
        verdict = found.suite.verdicts.of("y", "x")
        assert verdict.word is Word.BETTER
        assert verdict.pair.difference == pytest.approx(1.0, abs=0.2)
        assert found.strict["b1"]["x", "y"] is Word.WORSE

    def test_gains_in_one_benchmark_cancel_losses_in_another(self):
        scores = suite(np.random.default_rng(0), {"x": 0.5, "y": 0.6}, benchmarks=2)
        scores["b1"] = {"x": scores["b1"]["y"], "y": scores["b1"]["x"]}
        found = self.compare(scores)
        assert found.suite.verdicts.of("x", "y").word is Word.UNCLEAR
        assert [each.verdicts.of("x", "y").word for each in found.benchmarks.values()] == [
            Word.WORSE,
            Word.BETTER,
        ]

    def test_a_pair_is_compared_where_both_are(self):
        scores = suite(np.random.default_rng(0), {"x": 0.5, "y": 0.6, "z": 0.7})
        del scores["b0"]["z"]
        found = self.compare(scores)
        assert found.shared["x", "y"] == ("b0", "b1", "b2")
        assert found.shared["y", "z"] == ("b1", "b2")
        assert found.suite.verdicts.of("z", "x").word is Word.BETTER
        assert found.suite.verdicts.groups == {"x": "b", "y": "a", "z": ""}

    def test_equivalent_within_the_mean_margin(self):
        scores = suite(np.random.default_rng(0), {"x": 0.5, "y": 0.5})
        assert self.compare(scores, 0.05).suite.verdicts.of("x", "y").word is Word.EQUIVALENT

    def test_benchmarks_without_a_scale_have_their_own_verdicts_alone(self):
        scores = suite(np.random.default_rng(0), {"x": 0.5, "y": 0.6}, benchmarks=2)
        margins = dict.fromkeys(scores, 0.0)
        found = compare_suite(scores, directions(scores), margins, {}, self.PLAN)
        assert found.suite.verdicts.of("x", "y").word is Word.TOO_FEW
        assert found.benchmarks["b0"].verdicts.of("x", "y").word is Word.WORSE
        assert "2 pairs of all benchmarks" in found.families[2]


class TestSpeedup:
    STEPS = np.arange(0, 1001, 50)

    def curves(self, rate: float, noise: float = 0.0, seeds: int = 5, top: float = 1.0):
        draw = np.random.default_rng(int(rate * 100))
        return {
            seed: [
                (float(s), top * (1 - math.exp(-rate * s / 300)) + noise * draw.standard_normal())
                for s in self.STEPS
            ]
            for seed in range(seeds)
        }

    def test_twice_as_fast(self):
        found = effective_speedup(self.curves(2.0, 0.003), self.curves(1.0, 0.003), ACCURACY)
        assert found.interval.low <= 2.0 <= found.interval.high
        assert found.value == pytest.approx(2.0, rel=0.1)
        assert (found.censored, found.reached) == (False, 1.0)

    def test_a_copy_is_as_fast_even_of_a_control_that_stopped_to_improve(self):
        flat = {seed: [(s, min(s, 300.0)) for s in self.STEPS.tolist()] for seed in range(3)}
        found = effective_speedup(flat, flat, ACCURACY)
        assert (found.value, found.interval.low, found.interval.high) == (1.0, 1.0, 1.0)

    def test_an_arm_that_never_arrives_is_censored(self):
        found = effective_speedup(self.curves(1.0, top=0.5), self.curves(1.0), ACCURACY)
        assert found.censored
        assert (found.value, found.interval.low, found.reached) == (1.0, 0.0, 0.0)

    def test_losses_fall_and_rises_do_not_count(self):
        control = {0: [(0, 4.0), (10, 2.0), (20, 3.0), (40, 1.0)], 1: [(0, 4.0), (40, 1.0)]}
        arm = {0: [(0, 4.0), (10, 1.0)], 1: [(0, 4.0), (10, 1.0)]}
        assert effective_speedup(arm, control, LOSS).value == pytest.approx(4.0)
        # mean of 2.0 and 3.25 at 10 steps; the arm needs (4 - 2.625) / 3 of 10 steps
        half = effective_speedup(arm, control, LOSS, target=2.625)
        assert half.value == pytest.approx(10 / (10 * 1.375 / 3))
        # at 20 steps the best so far are 2.0, not 3.0, and 2.5; both are 1.0 at 40
        later = effective_speedup(arm, control, LOSS, target=1.9)
        assert later.value == pytest.approx((20 + 20 * 0.35 / 1.25) / 7)

    def test_the_target_is_the_best_score_not_the_last(self):
        rebounds = {0: [(0, 4.0), (10, 1.0), (20, 2.0)]}
        assert effective_speedup(rebounds, rebounds, LOSS).target == 1.0

    def test_no_shared_seeds_or_an_unreachable_target(self):
        curves = self.curves(1.0)
        assert effective_speedup(curves, {9: curves[0]}, ACCURACY) is None
        assert effective_speedup(curves, curves, ACCURACY, target=2.0) is None
        apart = {0: [(0, 0.1), (1, 0.2)], 1: [(2, 0.1), (3, 0.2)]}  # no common cost
        assert effective_speedup(apart, apart, ACCURACY) is None
